"""The syntax tree of a compiled CEL expression. The library hands it out as bytes: a `cel.expr.CheckedExpr`
of the CEL specification (`checked.proto`, `syntax.proto`) in protocol buffers' wire format. A few dozen
lines read what the limits of `conditions.py` look at, without a protobuf library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
#: Of `Any` and `CheckedExpr` the fields that lead to the expression.
_VALUE, _EXPRESSION = 2, 4
_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = range(3, 10)
#: Of each kind of expression the fields that hold expressions, and the one that holds its name.
_PARTS: Final = {_SELECT: (1,), _CALL: (1, 3), _LIST: (1,), _COMPREHENSION: (2, 4, 5, 6, 7), _IDENT: ()}
_NAMES: Final = {_CONST: 6, _IDENT: 1, _SELECT: 2, _CALL: 2, _COMPREHENSION: 1}
_KINDS: Final = {
    _CONST: "constant",
    _IDENT: "name",
    _SELECT: "member",
    _CALL: "call",
    _LIST: "list",
    _STRUCT: "map",
    _COMPREHENSION: "macro",
}


class Node(NamedTuple):
    """`kind` is one of constant, name, member, call, list, map, macro. `name`: of a constant its text (None if
    it is no text), of a member the field, of a call the function, of a macro its variable. Of a macro the
    first part is what it goes over, the others are its body."""

    kind: str
    name: str | None
    parts: tuple[Node, ...]

    def walk(self) -> Iterator[Node]:
        yield self
        for part in self.parts:
            yield from part.walk()


def tree(serialized: bytes) -> Node:
    """The root of a serialized expression."""
    checked = dict(_fields(dict(_fields(serialized))[_VALUE]))
    return _node(checked[_EXPRESSION])


def _node(expression: bytes) -> Node:
    for number, content in _fields(expression):
        if number in _KINDS:
            return Node(_KINDS[number], _name(number, content), tuple(_parts(number, content)))
    return Node(_KINDS[_CONST], None, ())


def _name(number: int, content: bytes) -> str | None:
    found = [value for field, value in _fields(content) if field == _NAMES.get(number)]
    return found[0].decode() if found else None


def _parts(number: int, content: bytes) -> Iterator[Node]:
    for field, value in _fields(content):
        if field in _PARTS.get(number, ()):
            yield _node(value)
        elif number == _STRUCT and field == 2:  # an entry: its key (3) and its value (4)
            yield from (_node(each) for part, each in _fields(value) if part in (3, 4))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that hold bytes; numbers are passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == _VARINT:
            _, at = _varint(message, at)
        elif wire == _BYTES:
            length, at = _varint(message, at)
            yield key >> 3, message[at : at + length]
            at += length
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"no field of a syntax tree has the wire type {wire}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7
