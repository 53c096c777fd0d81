"""Batches that are one statement: what changes between their look and their end, and what they leave to a transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import Conflict, Unauthenticated, Unavailable
from narrows.operations.access import CreateApiKey, CreateStreamToken, RevokeApiKey
from narrows.operations.base import DEV, Actor
from narrows.operations.triggers import ExtendTrigger
from narrows.storage import looked, postgres
from narrows.storage.connecting import SETTINGS
from narrows.storage.statements import encoded, for_postgres
from tests.postgres.cluster import Cluster
from tests.postgres.session import Session, Target
from tests.postgres.standby import Standby
from tests.storage.kit import PROJECT, Bench, PostgresBackend
from tests.storage.nodes.kit import (
    SINGLE_TRIPS,
    USUAL_TRIPS,
    Elsewhere,
    Points,
    node,
    sql,
    trips,
    until,
    waiting_for_locks,
)
from tests.workflows.kit import Workflows, wait

KEY = Actor("key:k1", "k1")


async def _make_key(bench: Bench) -> None:
    await bench.perform(
        CreateApiKey(
            actor=DEV, entropy=bench.entropy(), id="k1", project_id=PROJECT, name=None,
            scopes=("events:write",), secret_hash="hash of k1",
        )
    )  # fmt: skip


@contextmanager
def default(database: PostgresBackend, setting: str, value: str) -> Iterator[None]:
    """What new sessions of the database begin with, while the context lasts."""
    name = Target.of(database.url).database
    sql(database, f"alter database {name} set default_{setting} = '{value}'")
    try:
        yield
    finally:
        sql(database, f"begin read write; alter database {name} reset default_{setting}; commit")


def _revoking(bench: Bench) -> RevokeApiKey:
    return RevokeApiKey(actor=DEV, entropy=bench.entropy(), project_id=PROJECT, api_key_id="k1")


def _extending(bench: Bench, trigger_id: str) -> ExtendTrigger:
    return ExtendTrigger(
        actor=DEV, project_id=PROJECT, entropy=bench.entropy(), trigger_id=trigger_id, timeout_secs=600
    )


async def test_what_settles_a_wait_by_an_api_key_is_one_statement(database: PostgresBackend) -> None:
    async with node(database) as bench:
        await _make_key(bench)
        due = await bench.open("a", 0)
        sql(database, f"update triggers set expires_at = 1 where id = '{due.id}'")
        for key in "bc":
            await bench.open(key, 0)
        asked = [
            lambda: bench.perform(bench.expiring(due)),
            lambda: bench.send("b", "1", actor=KEY),
            lambda: bench.perform(bench.canceling("c", actor=KEY)),
        ]
        assert [await trips(bench, ask) for ask in asked] == 3 * [SINGLE_TRIPS]


async def test_whoever_says_that_an_endpoint_is_to_be_told_needs_a_transaction(
    database: PostgresBackend,
) -> None:
    """Two statements for one table. After the first such batch none is tried as one statement."""
    async with node(database) as bench:
        for key in "abcd":
            await bench.open(key, 0, notify_url="https://example.com/" if key in "ab" else None)
        sql(database, "update triggers set notify_status = 'delivered' where notify_url is not null")
        found = [await trips(bench, partial(bench.send, key)) for key in "abcd"]
        # The first has looked when it turns out; the third goes the same way, and leaves it to the fourth.
        assert found == [1 + USUAL_TRIPS + 1, USUAL_TRIPS + 1, USUAL_TRIPS, SINGLE_TRIPS]


async def test_a_key_that_is_revoked_after_the_look_settles_nothing(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as other:
        await _make_key(other)
        await other.open("a", 0)
        points = Points(one)
        with points.holding("applied") as reached:
            sending = asyncio.create_task(one.send("a", "1", actor=KEY))
            await reached.wait()
            await other.perform(_revoking(other))
        with pytest.raises(Unauthenticated):
            await sending
        assert Counter(points.seen)["begin"] == 2
        assert (await other.get("a")).status == TriggerStatus.WAITING


async def test_a_key_that_expired_meanwhile_settles_nothing(database: PostgresBackend) -> None:
    async with node(database) as one:
        await _make_key(one)
        await one.open("a", 0)
        with Points(one).holding("applied") as reached:
            sending = asyncio.create_task(one.send("a", "1", actor=KEY))
            await reached.wait()
            sql(database, "update api_keys set expires_at = 1")
        with pytest.raises(Unauthenticated):
            await sending
        assert (await one.get("a")).status == TriggerStatus.WAITING


async def test_while_a_key_is_being_revoked_its_sends_wait_for_how_that_ends(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        await _make_key(other)
        await other.open("a", 0)
        with Points(other).holding("flushed") as reached:
            revoking = asyncio.create_task(other.perform(_revoking(other)))
            await reached.wait()
            sending = asyncio.create_task(one.send("a", "1", actor=KEY))
            await until(lambda: waiting_for_locks(database) == 1)
        await revoking
        with pytest.raises(Unauthenticated):
            await sending
        assert (await other.get("a")).status == TriggerStatus.WAITING


async def test_who_revokes_a_key_waits_for_what_is_being_settled_by_it(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nothing is settled by it after he was answered."""
    monkeypatch.setattr(looked, "LATE_SECS", 60.0)
    async with node(database) as one, node(database) as other:
        await _make_key(other)
        await other.open("a", 0)
        with Session(database.url) as holder:
            with Points(one).holding("applied") as reached:
                sending = asyncio.create_task(one.send("a", "1", actor=KEY))
                await reached.wait()
                holder.run("begin; lock table api_keys in access exclusive mode")
            # It reads the key, at the end of its statement.
            await until(lambda: waiting_for_locks(database) >= 1)
            revoking = asyncio.create_task(other.perform(_revoking(other)))
            await until(lambda: waiting_for_locks(database) >= 2)
            holder.run("rollback")
        await sending
        await revoking
        assert (await other.get("a")).status == TriggerStatus.RECEIVED
        ((before,),) = sql(database, "select t.received_at < k.revoked_at from triggers as t, api_keys as k")
        assert before == "t"


@pytest.mark.parametrize("hold_secs", [None, 60], ids=["single", "steps"])
@pytest.mark.parametrize("late_secs", [0.0, 60.0])
async def test_what_waited_for_a_lock_for_long_is_decided_anew_behind_it(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch, hold_secs: int | None, late_secs: float
) -> None:
    """By then the wait may be overdue."""
    monkeypatch.setattr(looked, "LATE_SECS", late_secs)
    async with node(database) as bench:
        await bench.open("a", 0)
        points = Points(bench)
        with Session(database.url) as holder:
            holder.run("begin")
            holder.run("select 1 from triggers for update")
            sending = asyncio.create_task(bench.send("a", "1", hold_secs=hold_secs))
            await until(lambda: waiting_for_locks(database) == 1)
            holder.run("rollback")
        await sending
        assert Counter(points.seen)["begin"] == (2 if late_secs == 0.0 else 1)
        assert (await bench.get("a")).status == TriggerStatus.RECEIVED


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "lock_timeout", "200")


@pytest.mark.usefixtures("impatient")
async def test_what_a_batch_could_not_lock_is_nothing_to_the_next(database: PostgresBackend) -> None:
    """It began again with the lock of a wait that had changed, and did not get it."""
    async with node(database) as bench, node(database) as other:
        stuck = await bench.open("stuck", 0)
        await bench.open("free", 0)
        points = Points(bench)
        with points.holding("applied") as reached:
            sending = asyncio.create_task(bench.send("stuck", "1"))
            await reached.wait()
            await other.perform(_extending(other, stuck.id))
            holder = Session(database.url)
            holder.run("begin")
            holder.run(f"select 1 from triggers where id = '{stuck.id}' for update")
        with pytest.raises(Unavailable):
            await sending
        points.seen.clear()
        await bench.send("free", "1")
        assert Counter(points.seen)["begin"] == 1
        holder.close()


async def test_a_settling_needs_how_its_delivery_stood(database: PostgresBackend) -> None:
    """Which changes without a version, and on servers without a repair of 2025 without a word about its place."""
    async with node(database) as bench:
        opened = await bench.open("a", 0)
        ((place,),) = sql(database, "select ctid from triggers")
        row = (PROJECT, opened.id, 2, "received", None, None, 1, 1, None, "dev", None)
        settle = for_postgres()["settle_looked_triggers"].sql
        connection = await asyncpg.connect(database.url)
        transaction = connection.transaction()
        await transaction.start()
        for notify_status, count in (("delivered", 0), (None, 1)):
            given = encoded([(*row, notify_status, place)])
            assert len(await connection.fetch(f"{settle} returning 1", given)) == count
        await transaction.rollback()
        await connection.close()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_revocation_is_seen_whatever_isolation_is_the_servers_default(
    database: PostgresBackend, level: str
) -> None:
    """The statement began before it, and reads the key behind its lock."""
    with default(database, "transaction_isolation", level):
        async with node(database) as one, node(database) as other:
            await _make_key(other)
            await other.open("b", 0)
            assert await trips(one, partial(one.send, "b")) == SINGLE_TRIPS
            await other.open("a", 0)
            with Session(database.url) as holder:
                holder.run("begin isolation level read committed")
                holder.run("select 1 from triggers for update")
                sending = asyncio.create_task(one.send("a", "1", actor=KEY))
                await until(lambda: waiting_for_locks(database) >= 1)
                await other.perform(_revoking(other))
                holder.run("rollback")
            with pytest.raises(Unauthenticated):
                await sending
            assert (await other.get("a")).status == TriggerStatus.WAITING


async def test_where_committed_is_not_read_all_goes_the_usual_way(database: PostgresBackend) -> None:
    """A session that a pooler has put in the place of ours has none of its settings."""
    async with node(database) as bench:
        await bench.open("a", 0)
        await bench.writing.line.run("set default_transaction_isolation = 'repeatable read'")
        points = Points(bench)
        await bench.send("a", "1")
        assert Counter(points.seen)["begin"] == 2
        assert (await bench.get("a")).status == TriggerStatus.RECEIVED


@pytest.mark.parametrize("hold_secs", [None, 60], ids=["single", "steps"])
async def test_a_server_that_takes_no_changes_refuses_at_once(
    database: PostgresBackend, hold_secs: int | None
) -> None:
    """As some do whose disk is full: nothing was done, and nobody has to find out."""
    async with node(database) as bench:
        await bench.open("a", 0)
        with default(database, "transaction_read_only", "on"):
            for connection in bench.store._connections:
                connection.line.drop()
            with pytest.raises(Unavailable):
                await bench.send("a", "1", hold_secs=hold_secs)


async def test_what_a_server_refused_since_it_takes_no_changes_is_done_again_without_asking(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it did nothing is known: nobody has to find out what became of the statement."""
    asked: list[str] = []

    async def find_out(line: Any, batch: str, *more: Any) -> None:
        asked.append(batch)

    async with node(database) as bench:
        await bench.open("a", 0)
        points = Points(bench)

        async def stop() -> None:
            await bench.writing.line.run("set default_transaction_read_only = on")

        points.at("applied", stop)
        monkeypatch.setattr(postgres, "find_out", find_out)
        before = len(sql(database, "select 1 from batches"))
        assert (await bench.send("a", "1")).status == 200
        assert Counter(points.seen)["begin"] == 2
        assert asked == []
        assert len(sql(database, "select 1 from batches")) == before + 1
        assert (await bench.get("a")).version == 2


async def test_a_standby_answers_nothing(database: PostgresBackend) -> None:
    """It may be behind: what it shows as settled may be waiting anew. A pooler can lead there at any time."""
    with Cluster(tcp=True) as primary, Standby(primary, synchronous=False) as standby:
        dsn = primary.create_database()
        async with node(Elsewhere(dsn)) as bench:
            await bench.open("a", 0)
            await bench.send("a", "1")
            ((written,),) = primary.sql("select pg_current_wal_flush_lsn()")
            await until(lambda: standby.sql(f"select 1 where pg_last_wal_replay_lsn() >= '{written}'"))

            async def there() -> Any:
                return await asyncpg.connect(dsn.replace(f":{primary.port}", f":{standby.port}"))

            for connection in bench.store._connections:
                connection.line._connect = there
                connection.line.drop()
            with pytest.raises(Unavailable):
                await bench.send("a", "2")
            with pytest.raises(Unavailable):
                await bench.perform(bench.opening("a", 0, if_waiting="join"))


async def test_a_workflow_waits_under_a_key_that_another_operation_only_looked_at(
    database: PostgresBackend,
) -> None:
    """What that saw may be settled by then: "a wait is open already" would be no answer, and fails the step for good."""
    async with node(database) as one, node(database) as other:
        workflows = Workflows(one)
        await workflows.define(wait("x", key="a"), slug="w")
        await one.open("a", 0)
        token = CreateStreamToken(
            actor=DEV, project_id=PROJECT, entropy=one.entropy(), token_hash="t", event_key="a"
        )
        starting = await workflows.starting()
        points = Points(one)
        with points.holding("begin") as reached:
            ahead = asyncio.create_task(one.project("another"))
            await reached.wait()
            both = [asyncio.create_task(one.perform(each)) for each in (token, starting)]
            await until(lambda: one.store.writer.queue_length == 2)
            there, go_on = asyncio.Event(), asyncio.Event()

            async def hold() -> None:
                there.set()
                await go_on.wait()

            async def at_the_next() -> None:
                points.at("loaded", hold)

            points.at("loaded", at_the_next)
        await ahead
        await there.wait()
        await other.send("a", "1")
        go_on.set()
        await asyncio.gather(*both)
        assert sql(database, "select status from steps") == [("waiting",)]
        with pytest.raises(Conflict):
            await other.open("a", 0)
