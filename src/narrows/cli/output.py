"""How answers are printed: as tables for a person, as JSON for a program. JSON is the server's own
text, so that numbers keep their digits. Not here: which fields an answer has (`wire/messages.py`)
and how each noun looks in a table (`tables.py`)."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec
from rich.console import Console, RenderableType


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class Raws(msgspec.Struct):
    """A page of anything, its items left as the text that they came as."""

    data: list[msgspec.Raw]
    has_more: bool = False
    next_cursor: str | None = None


out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def format_in_force(asked: Format | None) -> Format:
    """Tables when a person looks, JSON lines in a pipe."""
    if asked is not None:
        return asked
    return Format.TABLE if sys.stdout.isatty() else Format.JSONL


def shown(text: str) -> str:
    """Text from outside, made harmless for a terminal: control characters are spelled out."""
    return "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char) in ("Cc", "Cf") and char != "\n" else char
        for char in text
    )


def write_line(text: bytes) -> None:
    """One line of a program's output, exactly as it is."""
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.buffer.flush()


def write_json(text: bytes, form: Format) -> None:
    if form is Format.JSON:
        text = msgspec.json.format(text, indent=2)
    write_line(text)


class Printer:
    """Prints what a command answers, in the format in force."""

    def __init__(self, asked: Format | None) -> None:
        self.asked = asked
        self.format = format_in_force(asked)

    @property
    def is_table(self) -> bool:
        return self.format is Format.TABLE

    def one(self, reply: bytes, kind: Any) -> None:
        """A single answer of the message `kind`."""
        from narrows.cli import tables  # noqa: PLC0415 - rich's tables are slow to load and pipes need none

        if self.is_table:
            self.show(tables.card(msgspec.json.decode(reply, type=kind)))
        else:
            write_json(reply, self.format)

    def many(self, items: Iterable[msgspec.Raw], kind: Any, *, more: str | None = None) -> None:
        """A list of `kind`. `more` says on stderr how the rest is had."""
        from narrows.cli import tables  # noqa: PLC0415 - see above

        texts = [bytes(item) for item in items]
        if self.is_table:
            rows = [msgspec.json.decode(text, type=kind) for text in texts]
            self.show(tables.listing(rows, kind))
        elif self.format is Format.JSON:
            write_json(b"[" + b",".join(texts) + b"]", self.format)
        else:
            for text in texts:
                write_line(text)
        if more:
            note(more)

    def show(self, renderable: RenderableType) -> None:
        out.print(renderable)


def note(text: str) -> None:
    """A line for the person at the terminal; on stderr, so that pipes stay clean."""
    err.print(text, style="dim", markup=False)


def complain(cause: str, details: Iterable[str] = (), after: Iterable[str] = ()) -> None:
    """An error: cause, details, what to do next."""
    err.print("error:", style="bold red", end=" ")
    err.print(shown(cause), markup=False)
    for line in details:
        err.print(f"  - {shown(line)}", markup=False)
    for line in after:
        err.print(f"  {line}", style="dim", markup=False)
