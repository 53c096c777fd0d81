"""What is moved: every table of the schema, its columns and its key, read off the migrations themselves, so
that a new table or column is moved without a word here. Not here: what only one kind of database has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from narrows.storage.backend import Row
from narrows.storage.migrations import all_migrations

#: A transaction of a move; it ends earlier where rows are large, since it is held in memory.
CHUNK_ROWS: Final = 50_000
CHUNK_BYTES: Final = 32 << 20
#: What is fetched at once: about so much, by the size of the rows before, since a row may have a megabyte.
PIECE_BYTES: Final = 256 << 10
FIRST_PIECE_ROWS: Final = 32

#: SQLite's rows keep room for what an update adds; a row that has had its update has given it back.
_ROOM: Final = "room"
_HAS_ROOM: Final = {
    "triggers": "{settled_at} is null",
    "runs": "{dispatch} = 0 and {finished_at} is null",
    "workflow_runs": "{finished_at} is null",
    "steps": "{finished_at} is null",
}
_encoder: Final = msgspec.json.Encoder()


class Table(NamedTuple):
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    room: str | None  # the schema's default of the column that only SQLite has

    def key_of(self, row: Row) -> list[Any]:
        return [row[self.columns.index(column)] for column in self.key]

    def reading(self, mark: str, *, is_begun: bool) -> str:
        """All rows in the order of the key; of one that has begun, those after the key that is given.
        `mark` is what a parameter begins with."""
        key = ", ".join(self.key)
        values = ", ".join(f"{mark}{number}" for number in range(1, len(self.key) + 1))
        after = f" where ({key}) > ({values})" if is_begun else ""
        return f"select {', '.join(self.columns)} from {self.name}{after} order by {key}"  # noqa: S608 - names of the schema

    @property
    def counting(self) -> str:
        return f"select count(*) from {self.name}"  # noqa: S608 - see above

    @property
    def inserting(self) -> str:
        """One row into SQLite, with the room that it would have there. (Row by row: to pass them on as one
        JSON text, as the writer does beside an event loop, takes three times as long.)"""
        values = {column: f"?{number}" for number, column in enumerate(self.columns, 1)}
        if self.room is not None:
            values[_ROOM] = f"case when {_HAS_ROOM[self.name].format(**values)} then {self.room} end"
        return f"insert into {self.name} ({', '.join(values)}) values ({', '.join(values.values())})"  # noqa: S608 - see above


class Chunk(NamedTuple):
    """Rows, and the text that both kinds of database have for them if they are the same: a line of JSON each."""

    rows: list[Row]
    text: bytes


class Gathering:
    """A chunk that is being read, piece by piece."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._text = bytearray()

    @property
    def wanted(self) -> int:
        """How many rows to fetch next; none where a transaction has enough."""
        room = CHUNK_ROWS - len(self._rows)
        if room <= 0 or len(self._text) >= CHUNK_BYTES:
            return 0
        if not self._rows:
            return min(room, FIRST_PIECE_ROWS)
        return max(1, min(room, PIECE_BYTES * len(self._rows) // len(self._text)))

    def add(self, rows: list[Row]) -> None:
        self._rows += rows
        self._text += _encoder.encode_lines(rows)

    def chunk(self) -> Chunk:
        return Chunk(self._rows, bytes(self._text))


@cache
def tables() -> tuple[Table, ...]:
    """The tables of this version, by name. Those that are one database's own affair are not among them:
    nodes, batches and fingerprints of PostgreSQL, and which migrations were applied."""
    connection = apsw.Connection(":memory:")
    for migration in all_migrations():
        connection.execute(migration.sql)
    names = connection.execute(
        "select name from sqlite_schema where type = 'table' and name not like 'sqlite%' order by name"
    )
    return tuple(_table(connection, name) for (name,) in list(names))


def _table(connection: apsw.Connection, name: str) -> Table:
    found: Sequence[tuple[str, str | None, int]] = list(
        connection.execute("select name, dflt_value, pk from pragma_table_xinfo(?)", (name,))
    )
    key = [column for column, _, place in sorted(found, key=lambda each: each[2]) if place]
    room = next((default for column, default, _ in found if column == _ROOM), None)
    return Table(name, tuple(column for column, _, _ in found if column != _ROOM), tuple(key), room)
