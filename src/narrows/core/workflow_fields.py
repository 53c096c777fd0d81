"""Reading the fields of a definition: each fault becomes a sentence that says where it is, and reading goes
on, so that one answer names them all. Not here: which fields there are (`workflow_steps.py`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from narrows.core.templates import Template, compile_json, compile_text
from narrows.errors import InvalidRequest

E = TypeVar("E", bound=StrEnum)

#: The longest wait, as of a trigger: a year.
LONGEST_SECS: Final = 31_536_000
_DURATION: Final = re.compile(
    r"(?:(?P<days>\d{1,5})d)?(?:(?P<hours>\d{1,6})h)?(?:(?P<minutes>\d{1,7})m)?(?:(?P<seconds>\d{1,9})s)?",
    re.ASCII,
)
#: Sentences in the order in which they were found, each once.
Faults = dict[str, None]


class Checked(NamedTuple):
    """What a look at an expression found: a fault, and the steps that it names (None: it could be any)."""

    fault: str | None = None
    steps: frozenset[str] | None = frozenset()


class Checks(NamedTuple):
    """How expressions in other languages are looked at. They come from outside, since their libraries do;
    each answers what is wrong, as a sentence without a subject (`holds ...`)."""

    condition: Callable[[str], Checked]
    json_path: Callable[[str], str | None]
    schema: Callable[[str], str | None]


#: For a definition that was checked when it was saved.
TRUSTED: Final = Checks(lambda _: Checked(steps=None), lambda _: None, lambda _: None)


def duration(text: str) -> int | None:
    """The seconds of a duration like `30m`, `24h`, `7d` or `1h30m`; None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


class Fields:
    """The fields of one object. `where` begins every sentence about it. A field has one or more names (its
    aliases), of which one may be given."""

    def __init__(self, where: str, given: Mapping[str, Any], faults: Faults) -> None:
        self.where = where
        self.faults = faults
        self._given = given
        self._known: set[str] = set()

    def fault(self, what: str) -> None:
        self.faults[f"{self.where} {what}."] = None

    def unknown(self) -> list[str]:
        """The names that nobody asked for."""
        return [name for name in self._given if name not in self._known]

    def get(self, *names: str) -> Any:
        """The value under one of the names, None where there is none (or null)."""
        self._known.update(names)
        given = [name for name in names if self._given.get(name) is not None]
        if len(given) > 1:
            self.fault(f"has both {given[0]!r} and {given[1]!r}, which are one field; leave one out")
        return self._given[given[0]] if given else None

    def text(self, *names: str, longest: int, required: bool = False) -> str | None:
        value = self.get(*names)
        if value is None:
            if required:
                self.fault(f"has no {names[0]!r}")
            return None
        if not isinstance(value, str) or not value or len(value) > longest:
            self.fault(f"has a wrong {names[0]!r}: it must be a text of 1 to {longest} characters")
            return None
        return value

    def whole(self, *names: str, least: int, most: int, default: int) -> int:
        value = self.optional_whole(*names, least=least, most=most)
        return default if value is None else value

    def optional_whole(self, *names: str, least: int, most: int) -> int | None:
        value = self.get(*names)
        if value is None:
            return None
        if type(value) is not int or not least <= value <= most:
            self.fault(f"has a wrong {names[0]!r}: it must be a whole number from {least} to {most}")
            return None
        return value

    def choice(self, *names: str, of: type[E], default: E) -> E:
        value = self.get(*names)
        if value is None:
            return default
        try:
            return of(value)
        except ValueError:
            self.fault(f"has an unknown {names[0]!r}: it must be one of {', '.join(of)}")
            return default

    def texts(self, *names: str, most: int, longest: int) -> tuple[str, ...]:
        """A list of texts without repeats; empty where there is none."""
        value = self.get(*names)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > most:
            self.fault(f"has a wrong {names[0]!r}: it must be a list of at most {most} texts")
            return ()
        good = [each for each in value if isinstance(each, str) and 0 < len(each) <= longest]
        if len(good) < len(value):
            self.fault(f"has a wrong {names[0]!r}: each must be a text of 1 to {longest} characters")
        for each, times in Counter(good).items():
            if times > 1:
                self.fault(f"names {each!r} twice in {names[0]!r}")
        return tuple(dict.fromkeys(good))

    def text_template(self, *names: str, longest: int, required: bool = False) -> Template | None:
        text = self.text(*names, longest=longest, required=required)
        return None if text is None else self.compiled(names[0], compile_text, text)

    def json_template(self, *names: str) -> Template | None:
        value = self.get(*names)
        return None if value is None else self.compiled(names[0], compile_json, value)

    def compiled(self, name: str, compile_template: Callable[[Any], Template], value: Any) -> Template | None:
        try:
            return compile_template(value)
        except InvalidRequest as refusal:
            self.fault(f"has a wrong {name!r}: {refusal.message.removesuffix('.')}")
            return None
