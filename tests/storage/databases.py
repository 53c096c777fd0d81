"""Databases for whatever stands on a store, migrated once: those on the server that this process's tests share are
lent to one test after the other, empty each time; of SQLite's each test has a copy.

To make a database takes a file for each table and index, half a second on a slow disk; to delete what a
test wrote takes milliseconds. A test that changes a schema takes `fresh_database` of `tests/postgres`, or a folder
without a file; the servers that `tests/cli` starts find nothing either.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import tempfile
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from narrows.config import Config
from narrows.storage import sqlite
from narrows.storage.connecting import open_connection
from narrows.storage.line import Line
from narrows.storage.postgres_schema import migrate
from narrows.storage.statements import for_postgres
from narrows.storage.verify import CHECKS, sentence_of, verify
from tests.postgres.cluster import fresh_database
from tests.postgres.session import Session

#: Whatever a test left open would hold its locks.
_CUT_OFF = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
)
_TABLES = "select tablename from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'"
_ready: list[Database] = []


class Database:
    """One that is lent, and a connection for what the tests ask past the store."""

    def __init__(self) -> None:
        self.url = fresh_database(_migrated)
        self._session = Session(self.url)
        atexit.register(self._session.close)

    def faults(self) -> list[str]:
        """What `narrows verify` finds in it: its checks, at one moment, planned once for all tests."""
        found = self._session.run(f"execute {self._checks}")
        return [sentence_of(str(name), str(text), int(count or 0)) for name, text, count in found]

    @cached_property
    def _checks(self) -> str:
        statements = for_postgres()
        each = (
            f"select '{name}', found.* from ({statements[name].sql.strip().rstrip(';')}) as found(text, count)"
            for name in CHECKS
        )
        self._session.run(
            f"set plan_cache_mode = force_generic_plan; prepare checks as {' union all '.join(each)}"
        )
        return "checks"

    @cached_property
    def _tables(self) -> list[str]:
        return [str(name) for (name,) in self._session.run(_TABLES)]

    def empty(self) -> None:
        """Cut off whoever is connected, and delete every row."""
        self._session.run(_CUT_OFF)
        self._session.run("; ".join(f"delete from {name}" for name in self._tables))


def borrow() -> Database:
    """An empty database, until it is given back."""
    return _ready.pop() if _ready else Database()


def give_back(database: Database) -> None:
    """The test is over: the next one may have it."""
    database.empty()
    _ready.append(database)


@cache
def _empty_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "narrows.db"
        connection = sqlite.connect(path)
        sqlite.migrate(connection, 0)
        connection.close()
        return path.read_bytes()


def lay_down(path: Path) -> None:
    """A SQLite database that is migrated and empty, as the server that made it left it."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(_empty_file())


#: What a server may stand on.
DATABASES = ("sqlite", "postgres")


@contextlib.contextmanager
def configured(database: str, folder: Path, **options: Any) -> Iterator[Config]:
    """The options of a server over an empty database, in which nothing may be wrong at the end."""
    if database == "sqlite":
        config = Config(data=folder, **options)
        yield config
        assert not config.database_path.exists() or verify(config.database_path) == []
        return
    borrowed = borrow()
    try:
        yield Config(data=folder, database=borrowed.url, **options)
        assert borrowed.faults() == []
    finally:
        give_back(borrowed)


def content(url: str) -> bytes:
    """All that a database holds, as text."""
    with Session(url) as session:
        each = (f"select each::text from {name} as each" for (name,) in session.run(_TABLES))
        return repr(session.run(" union all ".join(each))).encode()


def _migrated(url: str) -> None:
    async def migrated() -> None:
        line = Line(lambda: open_connection(url, pooled=False))
        await migrate(line)
        await line.close()

    asyncio.run(migrated())
