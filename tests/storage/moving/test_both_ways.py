"""All of a store is there after a move, row for row, and the store goes on."""

from __future__ import annotations

import asyncio

import pytest

from narrows import server
from narrows.config import Config
from narrows.errors import StorageError
from narrows.keyring import Keyring
from narrows.storage import sqlite
from narrows.storage.connecting import Access
from narrows.storage.moving.tables import CHUNK_ROWS, tables
from narrows.storage.postgres_store import PostgresStore
from narrows.testing import ManualClock
from tests.storage.moving.kit import moved, rows_of, sql


def test_everything_goes_to_postgresql_and_back_row_for_row(old: Config, new: Config, back: Config) -> None:
    before = old.database_path.read_bytes()
    there = moved(old, new)
    assert there.faults == []
    assert old.database_path.read_bytes() == before
    assert server.verify(new) == []
    assert moved(new, back) == there
    assert server.verify(back) == []
    expected = rows_of(old.database_path)
    assert rows_of(back.database_path) == expected
    assert [name for name, rows in expected.items() if not rows] == []
    assert there.rows == sum(map(len, expected.values()))


def test_rows_get_back_the_room_that_their_next_update_needs(
    old: Config, filled: Config, back: Config
) -> None:
    moved(filled, back)
    for config in (old, back):
        connection = sqlite.connect(config.database_path)
        rooms = "select distinct length(room) from triggers where status = 'waiting' = ?"
        assert connection.execute(rooms, (True,)).fetchall() == [(128,)]
        if config is back:  # in the other, what was settled as it was opened keeps what it got
            assert connection.execute(rooms, (False,)).fetchall() == [(None,)]
        assert connection.execute(
            "select distinct length(room) from runs where dispatch = 0 and finished_at is null"
        ).fetchall() == [(160,)]
        assert connection.execute(
            "select distinct length(room) from workflow_runs where version = 2 and finished_at is null"
        ).fetchall() == [(96,)]
        assert connection.execute(
            "select distinct length(room) from steps where version = 1 and finished_at is null"
        ).fetchall() == [(128,)]
        if config is back:
            for table in ("workflow_runs", "steps"):
                assert connection.execute(
                    f"select distinct length(room) from {table} where finished_at is not null"
                ).fetchall() == [(None,)]
        connection.close()


def test_both_kinds_have_the_same_tables(new: Config) -> None:
    asyncio.run(_made(new))
    found: dict[str, set[str]] = {}
    for table, column in sql(
        new,
        "select table_name, column_name from information_schema.columns where table_schema = 'public'",
    ):
        found.setdefault(str(table), set()).add(str(column))
    for own in ("schema_migrations", "nodes", "batches", "installation"):
        del found[own]
    assert {table.name: set(table.columns) for table in tables()} == found
    assert all(table.key for table in tables())


async def _made(config: Config) -> None:
    store = PostgresStore(Access(config.database), ManualClock(), database_time=False)
    await store.open()
    await store.close()


def test_the_store_goes_on_where_it_was_moved_to(old: Config, filled: Config) -> None:
    assert {row[0] for row in sql(filled, "select value from installation")} == set(
        Keyring.open(old.data, None).fingerprints
    )
    filled.data.mkdir()
    with pytest.raises(StorageError, match="not the one of the other nodes"):
        asyncio.run(server.has_api_keys(filled))
    (filled.data / "secret.key").unlink()
    (filled.data / "secret.key").hardlink_to(old.data / "secret.key")
    assert asyncio.run(server.has_api_keys(filled))


def test_more_than_a_chunk(old: Config, new: Config, back: Config) -> None:
    connection = sqlite.connect(old.database_path)
    connection.execute(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < ?)"
        " insert into marks select 'mark ' || i, i * 1000000007 from n",
        (2 * CHUNK_ROWS + 1,),
    )
    connection.close()
    moved(old, new)
    moved(new, back)
    assert rows_of(back.database_path) == rows_of(old.database_path)
