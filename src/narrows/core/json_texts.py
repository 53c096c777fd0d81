"""JSON texts without loss: payloads are kept as they were sent, so what is taken out of one has to keep
the spelling of its numbers (1.50, 1e3, forty digits) and the order of its members.

`Document` takes texts apart without decoding what is not looked at; `loads` and `dumps` are for values
that are worked on. Not here: whether a text may be taken at all (`wire/payloads.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from json.decoder import WHITESPACE  # type: ignore[attr-defined]  # there since Python 2.6
from json.encoder import encode_basestring
from typing import Any, Final

NULL: Final = "null"
_END: Final = {"{": "}", "[": "]"}
#: A string as a JSON text, characters beyond ASCII as they are.
quote: Final = encode_basestring
#: The compact text of a value of our own making: nothing in it remembers how it was spelled.
compact: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_skip = WHITESPACE.match
_read = json.JSONDecoder().raw_decode


class SpelledNumber(float):
    """A number that remembers how it was written."""

    spelled: str

    def __new__(cls, text: str) -> SpelledNumber:
        number = super().__new__(cls, text)
        number.spelled = text
        return number


def loads(text: str) -> Any:
    """The value of a JSON text; what is not a plain whole number is a `SpelledNumber`."""
    return json.loads(text, parse_float=SpelledNumber, parse_int=_whole)


def _whole(text: str) -> int | SpelledNumber:
    return SpelledNumber(text) if text == "-0" else int(text)


def dumps(value: Any) -> str:
    """The compact JSON text of a value, numbers as they were spelled."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, SpelledNumber):
        return value.spelled
    if isinstance(value, Mapping):
        return object_of((name, dumps(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return f"[{','.join(map(dumps, value))}]"
    return json.dumps(value, allow_nan=False)


def object_of(members: Iterable[tuple[str, str]]) -> str:
    """The text of an object from names and the texts of their values."""
    return f"{{{','.join(f'{quote(name)}:{text}' for name, text in members)}}}"


class Document:
    """A JSON text of which parts are wanted. Each level is cut into the texts of its members when somebody
    first looks below it, and kept: many looks into one payload cost one pass over it, and many copies of one string
    in it are made of the same text."""

    __slots__ = ("_inner", "_members", "_plain", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._members: dict[str, Document] | None = None
        self._inner: str | None = None
        self._plain: str | None = None

    def find(self, path: Iterable[str]) -> Document | None:
        """What lies under a path of member names and places in arrays; None if nothing does."""
        found: Document | None = self
        for name in path:
            found = found.members.get(name) if found is not None else None
        return found

    @property
    def members(self) -> dict[str, Document]:
        """Its members by name, or by place if it is an array; of any other value none."""
        if self._members is None:
            self._members = dict(_cut(self.text)) if self.text[:1] in _END else {}
        return self._members

    @property
    def inner(self) -> str:
        """Of a string what stands between its quotes."""
        if self._inner is None:
            self._inner = self.text[1:-1]
        return self._inner

    @property
    def plain(self) -> str:
        """Of a string the text that it says."""
        if self._plain is None:
            self._plain = str(json.loads(self.text))
        return self._plain

    @property
    def is_object(self) -> bool:
        return self.text.startswith("{")


def _cut(text: str) -> Iterable[tuple[str, Document]]:
    """The members of the object or array that `text` is."""
    named, end = text[0] == "{", _END[text[0]]
    at, place = _skip(text, 1).end(), 0
    while text[at] != end:
        name = str(place)
        if named:
            name, at = _read(text, at)
            at = _skip(text, _skip(text, at).end() + 1).end()
        _, after = _read(text, at)
        yield name, Document(text[at:after])
        at, place = _skip(text, after).end(), place + 1
        if text[at] == ",":
            at = _skip(text, at + 1).end()
