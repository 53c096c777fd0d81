"""The databases that are measured: SQLite, a file; PostgreSQL, a database on the benchmark's own server.

Of each, some are prepared once and kept between runs; every run has a fresh copy of one. A file is copied, on
PostgreSQL a database is made with the prepared one as its template: seconds in both cases.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from typing import Protocol

from benchmarks.cluster import SETTINGS, cluster
from benchmarks.places import WORK
from benchmarks.tables import PostgresTables, SqliteTables, Tables
from narrows.storage import migrations, postgres_schema, sqlite
from narrows.storage.connecting import using

COPY = "fresh_copy"


class Copy(Protocol):
    """A database that one run has for itself: one at a time, or one for each `place` side by side."""

    @property
    def url(self) -> str: ...

    def tables(self) -> Tables: ...

    def size_bytes(self) -> int: ...

    def cpu_secs(self) -> float:
        """CPU time so far of the database's server, where there is one."""

    def log_bytes(self) -> int:
        """How much was written so far to the log of that server."""


class Database(Protocol):
    """A kind of database and what is prepared of it."""

    @property
    def title(self) -> str: ...

    @property
    def is_shared(self) -> bool: ...

    @property
    def schema(self) -> str:
        """What changes when the schema does."""

    @property
    def described(self) -> list[str]:
        """The server behind it and its settings, if there is one."""

    def prepared(self) -> list[str]: ...

    def empty(self) -> Copy:
        """A database with the schema and no rows."""

    def keep(self, copy: Copy, name: str) -> None:
        """The copy becomes what is prepared under that name."""

    def forget(self, name: str) -> None: ...

    def fresh(self, name: str, place: str = "") -> Copy:
        """A copy, on the disk before the measurement begins, so that it disturbs nothing."""


def _digest(checksums: list[str]) -> str:
    return hashlib.sha256("".join(checksums).encode()).hexdigest()


# ---- SQLite ------------------------------------------------------------------------------------------


class SqliteCopy:
    def __init__(self, place: str = "") -> None:
        folder = WORK / f"data{place}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.path = folder / "narrows.db"
        self.url = f"sqlite:///{self.path}"

    def tables(self) -> Tables:
        return SqliteTables(self.path)

    def size_bytes(self) -> int:
        with self.tables() as tables:
            tables.finish()
        return self.path.stat().st_size

    def cpu_secs(self) -> float:
        return 0.0

    def log_bytes(self) -> int:
        return 0


class Sqlite:
    title = "SQLite"
    is_shared = False

    @property
    def schema(self) -> str:
        return _digest([each.checksum for each in migrations.all_migrations()])

    @property
    def described(self) -> list[str]:
        return []

    def prepared(self) -> list[str]:
        return [path.stem for path in WORK.glob("*.db")]

    def empty(self) -> Copy:
        copy = SqliteCopy()
        connection = sqlite.connect(copy.path)
        sqlite.migrate(connection, time.time_ns() // 1000)
        connection.close()
        return copy

    def keep(self, copy: Copy, name: str) -> None:
        assert isinstance(copy, SqliteCopy)
        copy.path.replace(WORK / f"{name}.db")

    def forget(self, name: str) -> None:
        (WORK / f"{name}.db").unlink()

    def fresh(self, name: str, place: str = "") -> Copy:
        copy = SqliteCopy(place)
        subprocess.run(["cp", "--reflink=auto", str(WORK / f"{name}.db"), str(copy.path)], check=True)
        descriptor = os.open(copy.path, os.O_RDWR)
        os.fdatasync(descriptor)
        os.close(descriptor)
        return copy


# ---- PostgreSQL --------------------------------------------------------------------------------------


class PostgresCopy:
    def __init__(self, template: str, place: str = "") -> None:
        server = cluster()
        self._name = COPY + place
        server.sql(f"drop database if exists {self._name} with (force)")
        server.sql(f"create database {self._name} template {template} strategy file_copy")
        self.url = server.dsn(self._name)

    def tables(self) -> Tables:
        return PostgresTables(self.url)

    def size_bytes(self) -> int:
        return int(cluster().sql(f"select pg_database_size('{self._name}')")[0][0] or 0)

    def cpu_secs(self) -> float:
        return cluster().cpu_secs()

    def log_bytes(self) -> int:
        return int(cluster().sql("select pg_current_wal_insert_lsn() - '0/0'")[0][0] or 0)


class Postgres:
    title = "PostgreSQL"
    is_shared = True

    @property
    def schema(self) -> str:
        return _digest([each.checksum for each in postgres_schema.all_migrations()])

    @property
    def described(self) -> list[str]:
        settings = ", ".join(f"`{name}={value.strip(chr(39))}`" for name, value in SETTINGS.items())
        return [
            f"PostgreSQL {cluster().version} on the same machine, over TCP; its defaults but for {settings}"
        ]

    def prepared(self) -> list[str]:
        return [str(row[0]) for row in cluster().sql("select datname from pg_database")]

    def empty(self) -> Copy:
        copy = PostgresCopy("template1")
        asyncio.run(_migrate(copy.url))
        return copy

    def keep(self, copy: Copy, name: str) -> None:
        cluster().sql(f"alter database {COPY} rename to {name}")

    def forget(self, name: str) -> None:
        cluster().sql(f"drop database {name}")

    def fresh(self, name: str, place: str = "") -> Copy:
        return PostgresCopy(name, place)


async def _migrate(url: str) -> None:
    async with using(url) as line:
        await postgres_schema.migrate(line)
