"""What the tests of moving stand on: a store with something of everything, moves, and rows to compare."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw

from narrows import server
from narrows.config import Config
from narrows.keyring import Keyring
from narrows.storage import sqlite
from narrows.storage.moving.move import Moved
from narrows.storage.moving.tables import tables
from tests.postgres.session import Session
from tests.storage.everything import fill
from tests.storage.kit import SqliteBackend, opened


def make_full(folder: Path) -> Config:
    """An embedded store with rows in every table, and its secret key."""
    config = Config(data=folder)
    folder.mkdir(exist_ok=True)
    asyncio.run(_fill(SqliteBackend(folder)))
    Keyring.open(folder, None)
    connection = sqlite.connect(config.database_path)
    connection.execute(
        "insert into api_keys (id, name, scopes, secret_hash, created_at, expires_at) values (?, ?, ?, ?, ?, ?)",
        ("key", "", '"\\\t\n\u00e9\u2028\U0001f600\x7f', "hash", -(2**63), 2**63 - 1),
    )
    # Keys that sort otherwise by another order than that of their bytes.
    for name in ("a", "B", "\u00e9", "e", "Z", "\uffff", "\U0001f600", "_", "-", "a b", "ab"):
        connection.execute("insert into marks values (?, 1)", (name,))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    return config


async def _fill(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await fill(bench)


def moved(source: Config, target: Config) -> Moved:
    return server.move(source, target, lambda doing, done, everything: None)


def sql(config: Config, text: str) -> list[tuple[str | None, ...]]:
    with Session(config.database) as session:
        return session.run(text)


def rows_of(path: Path, *, room: bool = False) -> dict[str, list[Any]]:
    """Every row of every table, as SQLite has it."""
    connection = sqlite.connect(path, read_only=True)
    found = {}
    for table in tables():
        columns = ", ".join([*table.columns, *(["room"] if room and table.room else [])])
        found[table.name] = list(connection.execute(f"select {columns} from {table.name} order by 1, 2"))
    connection.close()
    return found
