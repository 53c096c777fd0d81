"""YAML read as another way to write JSON: what comes out are JSON texts, so that numbers keep their spelling.

A plain word is `true`, `false`, `null`, a number as JSON spells it, or else a text: `no`, `2030-01-31`, `0x1F`
and `007` are texts, whatever other readers make of them. What cannot be said in JSON is refused, and so is what
nobody means (a name twice, `True`), each with its line and column. Not here: what a definition may hold.

The events of PyYAML's parser are taken, none of its constructors: they need no recursion, and nothing is built
that was not written.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

#: As long as the server takes; anchors could make more of a short text.
MAX_LENGTH: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 100

_LITERALS: Final = frozenset({"true", "false", "null"})
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
#: Other readers take these for what they look like; as texts nobody means them.
_MISLEADING: Final = {
    **dict.fromkeys(("True", "TRUE"), "true"),
    **dict.fromkeys(("False", "FALSE"), "false"),
    **dict.fromkeys(("Null", "NULL", "~"), "null"),
}
_QUOTE_IT: Final = 'a value that begins with {{ must stand in quotes: "{{...}}"'


class YamlInvalid(Exception):
    """What is wrong, and where: both count from 1."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


class YamlMissing(Exception):
    """PyYAML is not installed."""


@dataclass(slots=True)
class _Open:
    """A mapping or list that has not ended: its parts so far, and (a mapping's) the name of the next one."""

    is_mapping: bool
    anchor: str | None
    parts: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    name: str | None = None

    @property
    def wants_name(self) -> bool:
        return self.is_mapping and self.name is None

    def add(self, text: str) -> None:
        if self.name is not None:
            text = f"{json.dumps(self.name, ensure_ascii=False)}:{text}"
            self.name = None
        self.parts.append(text)

    def text(self) -> str:
        return f"{{{','.join(self.parts)}}}" if self.is_mapping else f"[{','.join(self.parts)}]"


def json_texts(text: str) -> list[str]:
    """The JSON text of each document; empty ones are left out. Raises YamlInvalid, YamlMissing."""
    try:
        import yaml  # noqa: PLC0415 - only who writes YAML needs it, and it may be missing
    except ImportError:
        raise YamlMissing from None

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    reader = _Reader()
    try:
        for event in yaml.parse(text, loader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        problem = " ".join(part for part in (error.problem, error.context) if part)
        raise YamlInvalid(problem, line + 1, column + 1) from None
    except yaml.YAMLError as error:
        before = text[: getattr(error, "position", 0)]
        line = before.count("\n") + 1
        raise YamlInvalid(
            "it holds a character that YAML refuses", line, len(before.rpartition("\n")[2]) + 1
        ) from None
    return reader.texts


class _Reader:
    """Takes events in their order; `texts` are the documents that have ended."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, str] = {}
        self._length = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            self._anchors = {}
        elif kind == "ScalarEvent":
            self._take_scalar(event)
        elif kind == "AliasEvent":
            self._take_alias(event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._refuse_as_name(event)
            self._refuse_tag(event)
            if len(self._open) >= MAX_DEPTH:
                raise _invalid(event, f"it is nested deeper than {MAX_DEPTH}")
            self._open.append(_Open(kind == "MappingStartEvent", event.anchor))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            ended = self._open.pop()
            self._add(event, ended.text(), ended.anchor)

    def _take_scalar(self, event: Any) -> None:
        self._refuse_tag(event)
        # Only a document without anything has an empty word at its top.
        is_empty = event.value == "" and not event.style
        if self._open and self._open[-1].wants_name:
            self._take_name(event)
        elif self._open or not is_empty:
            self._add(event, _value(event), event.anchor)

    def _take_name(self, event: Any) -> None:
        last, name = self._open[-1], event.value
        if name == "<<" and not event.style:
            raise _invalid(event, "<< is not read here; write the members themselves")
        if name in last.names:
            raise _invalid(event, f"{name!r} stands twice in one mapping")
        last.names.add(name)
        last.name = name

    def _take_alias(self, event: Any) -> None:
        self._refuse_as_name(event)
        if event.anchor not in self._anchors:
            inside = any(each.anchor == event.anchor for each in self._open)
            why = "stands within what it names" if inside else "names nothing before it"
            raise _invalid(event, f"*{event.anchor} {why}")
        self._add(event, self._anchors[event.anchor], None)

    def _add(self, event: Any, text: str, anchor: str | None) -> None:
        self._length += len(text) if not self._open or type(event).__name__ == "AliasEvent" else 0
        if self._length > MAX_LENGTH:
            raise _invalid(event, f"with what its anchors stand for it is longer than {MAX_LENGTH >> 20} MiB")
        if anchor is not None:
            self._anchors[anchor] = text
        if self._open:
            self._open[-1].add(text)
        else:
            self.texts.append(text)

    def _refuse_as_name(self, event: Any) -> None:
        if self._open and self._open[-1].wants_name:
            is_brace = type(event).__name__ == "MappingStartEvent" and event.flow_style
            raise _invalid(event, _QUOTE_IT if is_brace else "a name must be a text")

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            raise _invalid(event, f"tags like {event.tag} are not read here")


def _value(event: Any) -> str:
    """The JSON text of a word."""
    word = event.value
    if event.style:
        return json.dumps(word, ensure_ascii=False)
    if word == "":
        return "null"
    if word in _MISLEADING:
        raise _invalid(
            event, f'{word} is a text here; write {_MISLEADING[word]}, or "{word}" if that is meant'
        )
    if word in _LITERALS or _NUMBER.fullmatch(word):
        return str(word)
    return json.dumps(word, ensure_ascii=False)


def _invalid(event: Any, problem: str) -> YamlInvalid:
    return YamlInvalid(problem, event.start_mark.line + 1, event.start_mark.column + 1)
