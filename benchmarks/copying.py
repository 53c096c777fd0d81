"""Copies the rows that one thing has left in a database (a run with its wait and its facts, say), with other ids
and another key, as often as it takes to have a crowd. The copies are to one another what the originals were.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from benchmarks.tables import Rows, Tables
from narrows.core.ids import make_id

#: Rows by table.
Template = dict[str, Rows]
#: Between one copy and the next.
_GAP_US = 100
#: All rows of so many copies are in memory at once.
_CHUNK = 10_000


class _Cell(NamedTuple):
    """A text in which ids or the key stand, all of it or in part."""

    table: str
    row: int
    column: str
    parts: tuple[str, ...]


class Pattern:
    """`key` is the event key in the template; that of a copy is `prefix:000000042`."""

    def __init__(self, template: Template, key: str, prefix: str) -> None:
        self._rows: Template = {
            table: sorted(rows, key=lambda row: str(row.get("id", ""))) for table, rows in template.items()
        }
        self._key, self._prefix = key, prefix
        ids = {str(row["id"]) for rows in template.values() for row in rows if "id" in row}
        #: Without those that are made of others (`<workflow run>:<step>`).
        self._ids = sorted(each for each in ids if ":" not in each)
        self._cells = list(self._find_cells())

    def _find_cells(self) -> Iterator[_Cell]:
        for table, rows in self._rows.items():
            for number, row in enumerate(rows):
                for column, value in row.items():
                    if isinstance(value, str):
                        parts = tuple(each for each in (self._key, *self._ids) if each in value)
                        if parts:
                            yield _Cell(table, number, column, parts)

    def copy(self, number: int, at: int) -> Template:
        entropy = int.from_bytes(hashlib.blake2b(b"%d" % number, digest_size=8).digest(), "big")
        new = {old: make_id(at, position, entropy) for position, old in enumerate(self._ids)}
        new[self._key] = f"{self._prefix}:{number:09}"
        copied = {table: [dict(row) for row in rows] for table, rows in self._rows.items()}
        for table, row, column, parts in self._cells:
            text = copied[table][row][column]
            for part in parts:
                text = text.replace(part, new[part])
            copied[table][row][column] = text
        return copied


def multiply(tables: Tables, pattern: Pattern, count: int) -> None:
    """So many copies, the newest made just now; their rows lie in the order in which they would have come."""
    start = time.time_ns() // 1000 - count * _GAP_US
    copies = (pattern.copy(number, start + number * _GAP_US) for number in range(count))
    while chunk := list(islice(copies, _CHUNK)):
        _insert(tables, chunk)


def _insert(tables: Tables, chunk: Sequence[Template]) -> None:
    for table in chunk[0]:
        tables.insert(table, [row for copied in chunk for row in copied[table]])
