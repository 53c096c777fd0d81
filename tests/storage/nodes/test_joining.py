"""Nodes come and go: the schema, the secret key they have in common, their places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from narrows.errors import SchemaUnknown, StorageError
from narrows.storage.connecting import Access
from narrows.storage.postgres_schema import all_migrations
from narrows.storage.postgres_store import PostgresStore
from narrows.storage.statements import for_postgres
from narrows.testing import ManualClock
from tests.postgres.cluster import USER, drop_database, fresh_database
from tests.postgres.session import Session, Target
from tests.storage.kit import PostgresBackend
from tests.storage.nodes.kit import Elsewhere, node, sql, until, waiting_for_locks


class Bare(PostgresBackend):
    """A database without a schema."""

    def __init__(self) -> None:
        self.url = fresh_database()

    def close(self) -> None:
        drop_database(self.url)


@pytest.fixture
def bare() -> Iterator[Bare]:
    found = Bare()
    yield found
    found.close()


def _store(database: PostgresBackend, seed: int) -> PostgresStore:
    return PostgresStore(Access(database.url), ManualClock(seed=seed))


async def test_of_nodes_that_start_at_once_one_migrates(bare: Bare) -> None:
    stores = [_store(bare, seed) for seed in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    try:
        assert sorted(len(store.applied_migrations) for store in stores) == [0, 0, 0, len(all_migrations())]
        assert sorted(store._membership.nodes.own or 0 for store in stores) == [0, 1, 2, 3]
    finally:
        for store in stores:
            await store.close()


async def test_a_node_starts_over_a_newer_schema_that_only_adds(bare: Bare) -> None:
    store = _store(bare, 1)
    await store.open()
    await store.close()
    newer = len(all_migrations()) + 1
    sql(bare, f"insert into schema_migrations values ({newer}, 'newer', 'unknown', true, 1)")
    async with node(bare) as bench:
        await bench.open("a", 0)
    sql(bare, f"update schema_migrations set additive = false where number = {newer}")
    with pytest.raises(SchemaUnknown):
        await _store(bare, 2).open()


@contextmanager
def _clerk(database: PostgresBackend, of_schema: str) -> Iterator[PostgresBackend]:
    """The same database as a role has it that may do everything with the tables but owns none of them."""
    role = f"clerk_of_{Target.of(database.url).database}"
    sql(database, f"create role {role} login; grant all on all tables in schema public to {role}")
    sql(database, f"grant {of_schema} on schema public to {role}")
    try:
        yield Elsewhere(database.url.replace(f"{USER}@", f"{role}@", 1))
    finally:
        sql(database, f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize("of_schema", ["all", "usage"])
async def test_a_role_that_owns_no_table_works_and_is_told_who_may_migrate(
    bare: Bare, of_schema: str
) -> None:
    store = _store(bare, 1)
    await store.open()
    await store.close()
    with _clerk(bare, of_schema) as by_clerk:
        async with node(by_clerk) as bench:
            await bench.open("a", 0)
            await bench.send("a", "1")
        newest = len(all_migrations())
        sql(bare, f"delete from schema_migrations where number = {newest}")
        with pytest.raises(StorageError, match="Run `narrows migrate` as the role that owns it"):
            await _store(by_clerk, 2).open()
        assert len(sql(bare, "select 1 from schema_migrations")) == newest - 1


async def test_each_migration_is_named_before_it_begins(bare: Bare, caplog: pytest.LogCaptureFixture) -> None:
    store = _store(bare, 1)
    await store.open()
    await store.close()
    newest = all_migrations()[-1]
    sql(bare, f"delete from schema_migrations where number = {newest.number}")
    later = _store(bare, 2)
    with caplog.at_level("INFO"), Session(bare.url) as vacuum:
        vacuum.run("begin; lock table triggers in share update exclusive mode")
        opening = asyncio.create_task(later.open())
        await until(lambda: waiting_for_locks(bare) == 1)
        assert f"migrating the database: {newest.number:04} {newest.name}" in caplog.text
        vacuum.run("rollback")
        await opening
    assert later.applied_migrations == [newest.name]
    await later.close()


async def test_a_node_of_another_secret_key_is_refused(bare: Bare) -> None:
    for number, (keys, is_let_in) in enumerate(
        [(["a"], True), (["b"], False), (["b", "a"], True), (["b"], True), (["c"], False)]
    ):
        store = _store(bare, number)
        if is_let_in:
            await store.open(keys)
            await store.close()
        else:
            with pytest.raises(StorageError, match="secret key"):
                await store.open(keys)


@asynccontextmanager
async def _held_at_the_door(database: PostgresBackend, nodes: int) -> AsyncIterator[None]:
    """Let so many nodes come as far as the lock of those who join; what is done here happens before they have it."""
    with Session(database.url) as door:
        door.run("begin; " + for_postgres()["lock_nodes"].sql)
        yield
        await until(lambda: waiting_for_locks(database) == nodes)
        door.run("commit")


async def test_of_first_nodes_that_start_at_once_with_different_keys_one_is_let_in(
    database: PostgresBackend,
) -> None:
    stores = [_store(database, seed) for seed in range(2)]
    async with _held_at_the_door(database, nodes=2):
        opening = [asyncio.create_task(store.open([f"key {n}"])) for n, store in enumerate(stores)]
    outcomes = await asyncio.gather(*opening, return_exceptions=True)
    for store in stores:
        await store.close()
    (refusal,) = (each for each in outcomes if each is not None)
    assert isinstance(refusal, StorageError)
    assert "secret key" in refusal.message
    assert len(sql(database, "select 1 from installation")) == 1


async def test_a_node_that_waited_while_a_move_began_is_refused(database: PostgresBackend) -> None:
    """The move was killed then: its lock is free, and the database is half there."""
    store = _store(database, 1)
    try:
        async with _held_at_the_door(database, nodes=1):
            opening = asyncio.create_task(store.open())
            await until(lambda: waiting_for_locks(database))
            sql(database, "create table moving (name text)")
        with pytest.raises(SchemaUnknown, match="has not ended"):
            await opening
        assert sql(database, "select 1 from nodes") == []
    finally:
        sql(database, "drop table moving")
        await store.close()


async def test_a_node_begins_after_what_was_committed_while_it_waited(database: PostgresBackend) -> None:
    """By a move from a machine whose clock goes ahead."""
    far = 1 << 60
    store = _store(database, 1)
    async with _held_at_the_door(database, nodes=1):
        opening = asyncio.create_task(store.open())
        await until(lambda: waiting_for_locks(database))
        sql(database, "insert into projects (id, created_at) values ('moved', 1)")
        sql(
            database,
            "insert into facts (project_id, id, kind, subject_id, actor, at)"
            f" values ('moved', 'f', 'trigger.opened', 's', 'a', {far})",
        )
    await opening
    assert store.writer._last_stamp == far
    await store.close()
    sql(database, "delete from facts")


async def test_places_of_those_that_left_or_died_are_taken_again(database: PostgresBackend) -> None:
    async with node(database) as first:
        async with node(database) as second:
            assert (first.store.members.own, second.store.members.own) == (0, 1)
            await until(lambda: first.store.members.slots == (0, 1))
        async with node(database) as again:
            assert again.store.members.own == 1
            sql(database, "update nodes set seen_at = 0 where slot = 0")  # as if it had died long ago
            async with node(database) as third:
                assert third.store.members.own == 0
                # It had not: it finds its place taken, and takes another.
                await until(lambda: first.store.members.own == 2)
                await until(lambda: len({each.store.members.own for each in (first, again, third)}) == 3)
                await until(lambda: first.store.members.slots == (0, 1, 2))


async def test_a_node_whose_joining_was_never_answered_joins_again(database: PostgresBackend) -> None:
    async with node(database), node(database) as bench:
        membership = bench.store._membership
        before = membership.nodes.own
        await membership.join()
        assert membership.nodes.own == before
        assert len(membership.nodes.slots) == 2
