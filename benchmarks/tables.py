"""The rows of a database past the server: templates are read, many rows are written, by the fastest way
that each database has. No server is to be running while rows are written.

SQL that is given has its values in its text, so that it is the same for both; they are all our own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import apsw
import asyncpg

from narrows.storage import sqlite

Rows = list[dict[str, Any]]


class Index(NamedTuple):
    """An index that is dropped while a table is filled, and how it is made again."""

    name: str
    sql: str


class Tables(Protocol):
    """A connection to one database, closed at the end of `with`."""

    def rows(self, sql: str) -> Rows: ...

    def run(self, sql: str) -> None: ...

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that all have the same columns."""

    def indexes(self, table: str) -> list[Index]:
        """Those that can be dropped: not that of the primary key."""

    def finish(self) -> None:
        """What a database does after many new rows, so that it does not happen in the measurement."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class SqliteTables:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite.connect(path, cache_mib=512)
        self._connection.execute("pragma synchronous = off")

    def rows(self, sql: str) -> Rows:
        cursor = self._connection.execute(sql)
        return [
            dict(zip((column[0] for column in cursor.get_description()), row, strict=True)) for row in cursor
        ]

    def run(self, sql: str) -> None:
        self._connection.execute(sql)

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = rows[0]
        names = ", ".join(f":{name}" for name in columns)
        with self._connection:
            self._connection.executemany(f"insert into {table} ({', '.join(columns)}) values ({names})", rows)
        self.finish()

    def indexes(self, table: str) -> list[Index]:
        found = self.rows(
            f"select name, sql from sqlite_schema where type = 'index' and tbl_name = '{table}' and sql > ''"
        )
        return [Index(row["name"], row["sql"]) for row in found]

    def finish(self) -> None:
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        self._connection.close()


class PostgresTables:
    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection: Any = self._runner.run(asyncpg.connect(url))

    def rows(self, sql: str) -> Rows:
        return [dict(row) for row in self._runner.run(self._connection.fetch(sql))]

    def run(self, sql: str) -> None:
        self._runner.run(self._connection.execute(sql))

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        records = [tuple(row.values()) for row in rows]
        copying = self._connection.copy_records_to_table(table, records=records, columns=list(rows[0]))
        self._runner.run(copying)

    def indexes(self, table: str) -> list[Index]:
        found = self.rows(
            f"select indexname, indexdef from pg_indexes where tablename = '{table}'"
            f" and indexname <> '{table}_pkey'"
        )
        return [Index(row["indexname"], row["indexdef"]) for row in found]

    def finish(self) -> None:
        """Rows are marked as there for good now, not by whoever reads them first."""
        self.run("vacuum (freeze, analyze)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()
