"""What must not be moved is refused, and a copy that differs from its source is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from narrows import server
from narrows.config import Config, ConfigInvalid
from narrows.errors import NarrowsError, SchemaUnknown, StorageError, StoreLocked
from narrows.keyring import Keyring
from narrows.storage import files, sqlite
from narrows.storage.connecting import Access
from narrows.storage.moving import embedded, shared
from narrows.storage.moving.move import Move
from narrows.storage.moving.tables import Table, tables
from narrows.storage.postgres_store import PostgresStore
from narrows.storage.statements import for_postgres
from narrows.testing import ManualClock
from tests.storage.moving.killed import killed
from tests.storage.moving.kit import moved, rows_of, sql


def refused(kind: type[NarrowsError], says: str, source: Config, target: Config) -> None:
    with pytest.raises(kind, match=says):
        moved(source, target)


def test_a_served_file_is_neither_moved_nor_filled(old: Config, filled: Config, back: Config) -> None:
    lock = files.DataLock(old.data)
    refused(StoreLocked, "Another process", old, filled)
    lock.release()
    lock = files.DataLock(back.data)
    refused(StoreLocked, "Another process", filled, back)
    lock.release()


def test_a_database_with_nodes_is_neither_moved_nor_filled(old: Config, filled: Config, back: Config) -> None:
    asyncio.run(_beside_a_node(filled, lambda: refused(StorageError, "served by 1 node", filled, back)))
    asyncio.run(_beside_a_node(filled, lambda: refused(StorageError, "served by 1 node", old, filled)))
    assert not back.database_path.exists()


async def _beside_a_node(config: Config, work: Callable[[], None]) -> None:
    store = PostgresStore(Access(config.database), ManualClock(), database_time=False)
    await store.open()
    store.start()
    await asyncio.to_thread(work)
    await store.close()


def test_a_node_that_comes_while_it_is_moved_is_kept_out(filled: Config) -> None:
    assert shared._KEEP_NODES_OUT.partition("(")[2] == for_postgres()["lock_nodes"].sql.partition("(")[2]
    asyncio.run(_joining(filled))


async def _joining(config: Config) -> None:
    store = PostgresStore(Access(config.database), ManualClock(), database_time=False)
    async with shared.source(config.database, "new", ()):
        joining = asyncio.create_task(store.open())
        await asyncio.sleep(0.3)
        assert not joining.done()
    await joining
    await store.close()


def test_a_node_that_wakes_up_meanwhile_is_seen_at_the_end(
    filled: Config, back: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = embedded.Embedded.begin

    async def begin(self: embedded.Embedded, origin: str) -> None:
        await known(self, origin)
        sql(
            filled,
            "insert into nodes select 'a', 0, 'sleeper', '1', t, t from"
            " (select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as t) as now",
        )

    monkeypatch.setattr(embedded.Embedded, "begin", begin)
    refused(StorageError, r"served by 1 node \(sleeper\)", filled, back)
    sql(filled, "delete from nodes")
    monkeypatch.undo()
    assert moved(filled, back).faults == []


@pytest.mark.parametrize("trace", ["delete from nodes", "insert into batches (id, at) values ('b', 2)"])
def test_a_node_that_came_back_meanwhile_and_left_again_is_seen_at_the_end(
    filled: Config, back: Config, monkeypatch: pytest.MonkeyPatch, trace: str
) -> None:
    """It was stopped for so long that nobody took it for a node."""
    sql(filled, "insert into nodes values ('a', 0, 'sleeper', '1', 1, 1)")
    known = embedded.Embedded.begin

    async def begin(self: embedded.Embedded, origin: str) -> None:
        await known(self, origin)
        sql(filled, trace)

    monkeypatch.setattr(embedded.Embedded, "begin", begin)
    refused(StorageError, "A node served .* and has left since", filled, back)
    with pytest.raises(SchemaUnknown, match="has not ended"):
        asyncio.run(server.has_api_keys(back))


def test_what_holds_something_else_is_not_filled(old: Config, filled: Config) -> None:
    before = rows_of(old.database_path)
    refused(StorageError, "holds something already", old, filled)
    refused(StorageError, "holds something already", filled, old)
    assert rows_of(old.database_path) == before


def test_a_move_of_another_store_is_not_gone_on_with(old: Config, new: Config) -> None:
    killed(old, new, "write", 5, "after")
    connection = sqlite.connect(old.database_path)
    connection.execute("insert into projects (id, created_at) values ('later', 1)")
    connection.close()
    refused(StorageError, "has changed since", old, new)


def test_two_of_a_kind_and_what_is_not_there(old: Config, new: Config, back: Config) -> None:
    refused(ConfigInvalid, "One of the two", old, back)
    refused(StorageError, "There is no database", back, new)
    assert not back.data.exists()
    refused(SchemaUnknown, "empty or of an older version", new, back)
    assert not back.database_path.exists()


def test_another_programs_file_and_another_key(filled: Config, back: Config) -> None:
    Keyring.open(back.data, None)
    refused(StorageError, "secret key beside the target", filled, back)
    (back.data / "secret.key").unlink()
    connection = apsw.Connection(str(back.database_path))
    connection.execute("create table t (a)")
    connection.close()
    refused(SchemaUnknown, "another program", filled, back)


def test_a_key_that_an_empty_database_was_tried_with_gives_way(old: Config, new: Config) -> None:
    asyncio.run(_tried(new))
    moved(old, new)
    assert {row[0] for row in sql(new, "select value from installation")} == set(
        Keyring.open(old.data, None).fingerprints
    )


async def _tried(config: Config) -> None:
    store = PostgresStore(Access(config.database), ManualClock(), database_time=False)
    await store.open(["of another key"])
    await store.close()


PLANTED = [
    "update triggers set name = 'x' where status = 'waiting'",
    "delete from facts where kind = 'run.resumed'",
    "insert into marks values ('m', 1)",
    "update payloads set body = body || ' '",
    "update counters set wait_us = wait_us + 1",
    "update runs set scheduled_at = null where scheduled_at is not null",
]


@pytest.mark.parametrize(
    ("way", "planted"), [*(("there", each) for each in PLANTED), *(("back", each) for each in PLANTED[:2])]
)
def test_a_difference_is_found(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, way: str, planted: str
) -> None:
    """What was written turns into something else on its way to the disk."""
    names = ("old", "new") if way == "there" else ("filled", "back")
    source, target = map(request.getfixturevalue, names)
    known = Move._compare

    async def compare(self: Any, table: Table) -> None:
        if table == tables()[0]:
            raw = self._target._raw
            await raw.execute(planted) if way == "there" else raw.execute(planted)
        await known(self, table)

    monkeypatch.setattr(Move, "_compare", compare)
    refused(StorageError, "is not equal to its source", source, target)
    with pytest.raises(SchemaUnknown, match="has not ended"):
        asyncio.run(server.has_api_keys(target))


def test_a_fault_of_the_source_is_told_and_moved(old: Config, new: Config) -> None:
    connection = sqlite.connect(old.database_path)
    connection.execute("update counters set received = received + 1")
    connection.close()
    assert [fault for fault in moved(old, new).faults if "statistics" in fault] != []
    assert server.verify(new) != []
