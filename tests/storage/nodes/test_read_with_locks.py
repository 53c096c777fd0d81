"""What a batch reads together with its locks: the trips that it saves, and that it is never of before a lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import deepcopy as copy_of
from typing import Any

import pytest

from narrows.core.records import Root
from narrows.core.states import RunStatus, TriggerStatus
from narrows.engine.consume import ConsumeMessagesRole
from narrows.errors import Conflict
from narrows.operations.events import SendToCallback
from narrows.operations.reads import PendingMessages
from narrows.storage.postgres import PostgresConnection
from narrows.storage.transaction import Limits
from tests.storage.kit import PROJECT, PostgresBackend
from tests.storage.nodes.kit import SINGLE_TRIPS, USUAL_TRIPS, Points, node, trips, until, waiting_for_locks
from tests.storage.runs import Runs
from tests.workflows.kit import Workflows, step, wait


async def test_the_usual_changes_need_no_trip_to_load(database: PostgresBackend) -> None:
    async with node(database) as bench:
        by_id = await bench.open("by-id", 0)
        await bench.open("called", 0, callback_token_hash="called")
        callback = SendToCallback(token_hash="called", payload="1", entropy=bench.entropy(), answers={})
        asked: dict[str, Callable[[], Awaitable[Any]]] = {
            "open": lambda: bench.open("a", 0),
            "send": lambda: bench.send("a", "1"),
            "open again": lambda: bench.open("a", 0),
            "send what may be held": lambda: bench.send("a", "1", hold_secs=60, event_id="e"),
            "hold": lambda: bench.send("b", "1", hold_secs=60),
            "open for what is held": lambda: bench.open("b", 0),
            "send by id": lambda: bench.send(None, "1", trigger_id=by_id.id),
            "callback": lambda: bench.perform(callback),
        }
        single = ("send", "send by id")
        assert {what: await trips(bench, ask) for what, ask in asked.items()} == {
            what: SINGLE_TRIPS if what in single else USUAL_TRIPS for what in asked
        }


async def test_what_is_read_with_the_locks_is_what_is_found_behind_them(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Column by column: the statement that locks names them again."""
    load_all, seen = PostgresConnection.load_all, set[str]()

    async def compared(connection: PostgresConnection, wanted: Any) -> Any:
        copy = copy_of(connection._at_hand)
        found, left = copy.take(wanted)
        for name, keys in wanted.items():
            at_hand = [key for key in keys if key not in left.get(name, ())]
            if at_hand and not name.startswith("queued"):
                assert sorted(found[name]) == sorted(await connection.line.load(name, at_hand)), name
                seen.update([name] if found[name] else [])
        return await load_all(connection, wanted)

    monkeypatch.setattr(PostgresConnection, "load_all", compared)
    async with node(database) as bench:
        flows, runs = Workflows(bench), Runs(bench)
        await flows.job()
        await flows.define(wait("in", key="in:{{n}}"), step("job", "in"), slug="below")
        child = step("child", type="sub_workflow", workflow_slug="below", payload={"n": "{{n}}"})
        await flows.begin(child, payload={"n": 1})
        await flows.messages()
        await bench.send("in:1", "1")
        await flows.work()
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "a")
        await bench.send("a", "1")
    assert seen >= {
        "workflow_runs_by_id",
        "runs_by_id",
        "roots_by_id",
        "triggers_by_key",
        "wait_groups_by_id",
    }


async def test_a_sub_workflow_whose_start_waited_for_another_is_one_too_many(
    database: PostgresBackend,
) -> None:
    """Its count stands in the root row, which what is read with the locks has as it was before them."""
    async with node(database) as one, node(database) as other:
        for bench in (one, other):
            bench.store.writer.limits = Limits(descendants=1)
        flows = Workflows(one)
        await flows.define(wait("in", key="in:{{workflow_run_id}}"), slug="below")
        children = [step(f"s{number}", type="sub_workflow", workflow_slug="below") for number in range(2)]
        run_id = await flows.begin(*children)
        first, second = await one.service.read(PendingMessages(2))
        with Points(one).holding("flushed") as reached:
            ahead = asyncio.create_task(ConsumeMessagesRole(one.service)._step(first))
            await reached.wait()
            behind = asyncio.create_task(ConsumeMessagesRole(other.service)._step(second))
            await until(lambda: waiting_for_locks(database) == 1)
        await asyncio.gather(ahead, behind)
        (root,) = await one.rows("roots_by_id", (PROJECT, run_id))
        assert Root(*root).descendants == 1
        assert len(await flows.listed()) == 2


async def test_an_event_that_waited_for_the_workflow_run_sees_how_far_that_has_come(
    database: PostgresBackend,
) -> None:
    """Both events found their waits open; the second one is what the step behind both has waited for."""
    async with node(database) as one, node(database) as other:
        flows = Workflows(other)  # who knows the definition goes on at once
        run_id = await flows.begin(wait("a"), wait("b"), wait("after", "a", "b"))
        with Points(one).holding("flushed") as reached:
            ahead = asyncio.create_task(one.send("a", "1"))
            await reached.wait()
            behind = asyncio.create_task(other.send("b", "2"))
            await until(lambda: waiting_for_locks(database) == 1)
        await asyncio.gather(ahead, behind)
        assert await flows.states(run_id) == "ccw"


async def test_an_event_that_waited_for_the_workflow_run_does_not_meet_a_wait_that_was_closed(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        flows = Workflows(other)
        run_id = await flows.begin(wait("a"), wait("b", "a"))
        with Points(one).holding("flushed") as reached:
            canceling = asyncio.create_task(Workflows(one).cancel(run_id))
            await reached.wait()
            behind = asyncio.create_task(other.send("a", "1"))
            await until(lambda: waiting_for_locks(database) == 1)
        await canceling
        with pytest.raises(Conflict):
            await behind
        assert await flows.states(run_id) == "xx"


async def test_a_cancel_that_waited_for_the_run_closes_the_wait_that_began_meanwhile(
    database: PostgresBackend,
) -> None:
    """The run's row is read under its lock; its first wait, with the root row, is looked up behind it."""
    async with node(database) as one, node(database) as other:
        runs, theirs = Runs(one), Runs(other)
        await runs.put()
        run = await runs.dispatch()
        with Points(one).holding("flushed") as reached:
            waiting = asyncio.create_task(runs.wait(run, "a"))
            await reached.wait()
            canceling = asyncio.create_task(other.perform(theirs.canceling(run)))
            await until(lambda: waiting_for_locks(database) == 1)
        await asyncio.gather(waiting, canceling)
        assert (await runs.get(run)).status == RunStatus.CANCELED
        assert (await one.get("a")).status == TriggerStatus.CANCELED


async def test_a_claim_that_waited_for_the_limit_counts_what_was_handed_out_meanwhile(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        runs, theirs = Runs(one), Runs(other)
        await runs.put(max_concurrency=2)
        for _ in range(3):
            await runs.trigger()
        with Points(one).holding("flushed") as reached:
            ahead = asyncio.create_task(one.perform(runs.claiming()))
            await reached.wait()
            behind = asyncio.create_task(other.perform(theirs.claiming(limit=2)))
            await until(lambda: waiting_for_locks(database) == 1)
        ((first,),), (found,) = await asyncio.gather(ahead, behind)
        assert len({first.id, *(run.id for run in found)}) == 2
