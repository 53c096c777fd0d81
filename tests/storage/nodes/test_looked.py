"""Triggers that are settled without having been locked: what another node does between the look and the write."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from narrows.core.states import FactKind, TriggerStatus
from narrows.errors import Conflict
from narrows.operations.base import DEV, HeldOutcome
from narrows.operations.events import BatchEvent
from narrows.operations.reads import Timeline
from narrows.operations.triggers import ExtendTrigger
from narrows.storage.line import Line
from narrows.storage.lookups import Touch
from tests.storage.kit import PROJECT, PostgresBackend
from tests.storage.nodes.kit import (
    SINGLE_TRIPS,
    USUAL_TRIPS,
    Points,
    holding_writes,
    node,
    trips,
    until,
    waiting_for_locks,
)
from tests.storage.runs import Runs


async def test_a_refusal_needs_no_trip_beyond_the_look(database: PostgresBackend) -> None:
    async with node(database) as bench:
        await bench.open("a", 0)
        await bench.send("a", "1")

        async def refused() -> None:
            with pytest.raises(Conflict):
                await bench.send("a", "2")

        # There is nothing to write.
        assert await trips(bench, refused) == 1


async def test_what_belongs_to_a_run_is_locked_and_then_no_batch_looks_first(
    database: PostgresBackend,
) -> None:
    async with node(database) as bench:
        runs = Runs(bench)
        await runs.put()
        for key in ("a", "b"):
            await runs.wait(await runs.dispatch(), key)
        for key in ("c", "d"):
            await bench.open(key, 0)
        found = [await trips(bench, partial(bench.send, key)) for key in "abcd"]
        # The first looks in vain; the third has no runs any more and does not know it.
        assert found == [USUAL_TRIPS + 1, USUAL_TRIPS, USUAL_TRIPS, SINGLE_TRIPS]


async def test_a_send_that_waited_for_another_sees_what_was_settled_meanwhile(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        await one.open("a", 0)
        with holding_writes(database):
            ahead = asyncio.create_task(one.send("a", "1"))
            await until(lambda: waiting_for_locks(database) == 1)
            behind = asyncio.create_task(other.send("a", "2"))
            await until(lambda: waiting_for_locks(database) == 2)
        await ahead
        with pytest.raises(Conflict):
            await behind
        assert (await one.get("a")).response_payload == "1"
        assert other.store.writer.invariant_violations == 0


async def test_a_send_that_waited_for_what_was_then_given_up_settles_its_wait(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        await one.open("a", 0)
        points, theirs = Points(one), Points(other)
        with points.holding("flushed") as reached:
            ahead = asyncio.create_task(one.send("a", "1", hold_secs=60))
            await reached.wait()
            behind = asyncio.create_task(other.send("a", "2"))
            await until(lambda: waiting_for_locks(database) == 1)
            for connection in one.store._connections:
                connection.line.drop()
        await behind
        assert isinstance(await ahead, HeldOutcome)  # it may be held, and nothing waits any more
        assert (await one.get("a")).response_payload == "2"
        assert Counter(theirs.seen)["begin"] == 1


async def test_a_send_meets_the_wait_that_was_opened_since_it_looked(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as sender:
        first = await one.open("a", 0)
        points = Points(sender)
        with points.holding("applied") as reached:
            sending = asyncio.create_task(sender.send("a", "1"))
            await reached.wait()
            await one.perform(one.canceling("a"))
            second = await one.open("a", 0)
        await sending
        assert (await one.get_by_id(first.id)).status == TriggerStatus.CANCELED
        assert (await one.get_by_id(second.id)).status == TriggerStatus.RECEIVED
        assert Counter(points.seen)["begin"] >= 2


async def test_an_event_is_held_whose_wait_was_canceled_since_it_looked(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as sender:
        first = await one.open("a", 0)
        with Points(sender).holding("applied") as reached:
            sending = asyncio.create_task(sender.send("a", "1", hold_secs=60))
            await reached.wait()
            await one.perform(one.canceling("a"))
        await sending
        second = await one.open("a", 0)
        assert (await one.get_by_id(first.id)).status == TriggerStatus.CANCELED
        assert (second.status, second.response_payload) == (TriggerStatus.RECEIVED, "1")


@pytest.mark.parametrize("is_ahead", [True, False])
async def test_a_wait_that_was_extended_since_is_settled_as_it_is_then(
    database: PostgresBackend, *, is_ahead: bool
) -> None:
    """Every change is one version, and its fact leads to the one before: whether the extension was committed before
    the send wrote, or the send waited for it."""
    async with node(database) as one, node(database) as sender:
        opened = await one.open("a", 60)
        extending = one.perform(
            ExtendTrigger(
                actor=DEV, project_id=PROJECT, entropy=one.entropy(), trigger_id=opened.id, timeout_secs=600
            )
        )
        points = Points(sender)
        if is_ahead:
            with points.holding("applied") as reached:
                sending = asyncio.create_task(sender.send("a", "1"))
                await reached.wait()
                await extending
        else:
            with Points(one).holding("flushed") as reached:
                ahead = asyncio.create_task(extending)
                await reached.wait()
                sending = asyncio.create_task(sender.send("a", "1"))
                await until(lambda: waiting_for_locks(database) == 1)
            await ahead
        await sending
        assert Counter(points.seen)["begin"] >= 2
        settled = await one.get("a")
        assert settled.version == 3
        assert settled.timeout_secs >= 600
        assert [fact.kind for fact in await one.service.read(Timeline(PROJECT, opened.id))] == [
            FactKind.TRIGGER_OPENED,
            FactKind.TRIGGER_EXTENDED,
            FactKind.TRIGGER_RECEIVED,
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Careless(ExtendTrigger):
    """It changes a trigger and does not say that it will."""

    def touches(self) -> list[Touch]:
        return [("triggers_by_id", self.project_id, self.trigger_id)]


async def test_what_changes_a_trigger_in_another_way_begins_again_with_its_lock(
    database: PostgresBackend,
) -> None:
    async with node(database) as bench:
        points = Points(bench)
        opened = await bench.open("a", 60)
        points.seen.clear()
        await bench.perform(
            Careless(
                actor=DEV, project_id=PROJECT, entropy=bench.entropy(), trigger_id=opened.id, timeout_secs=600
            )
        )
        assert Counter(points.seen)["begin"] == 2
        assert (await bench.get("a")).version == 2


async def test_a_key_is_waiting_until_what_settles_it_is_committed(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as other:
        first = await one.open("a", 0)
        with holding_writes(database):
            settling = asyncio.create_task(one.send("a", "1"))
            await until(lambda: waiting_for_locks(database) == 1)
            with pytest.raises(Conflict):
                await other.open("a", 0)
        await settling
        assert (await other.open("a", 0)).ordinal == first.ordinal + 1


async def test_of_two_that_send_the_same_each_event_settles_one_wait(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as other:
        keys = [f"k{number}" for number in range(20)]
        for key in keys:
            await one.open(key, 0)
        forth, back = ([BatchEvent(key, json.dumps(way)) for key in keys[::way]] for way in (1, -1))
        await asyncio.gather(
            *(bench.perform(bench.batch(*events)) for bench, events in 5 * [(one, forth), (other, back)])
        )
        assert {(await one.get(key)).version for key in keys} == {2}
        assert (await one.stats()).received == len(keys)


async def test_settling_takes_its_locks_in_the_order_of_ids(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like the statement that locks: whatever the order of the events."""
    fetch, seen = Line.fetch, []

    async def watched(line: Line, sql: str, *arguments: Any) -> Any:
        if sql.startswith("with w0 as (update triggers"):
            seen.append([row[1] for row in json.loads(arguments[0])])
        return await fetch(line, sql, *arguments)

    async with node(database) as bench:
        ids = [(await bench.open(key, 0)).id for key in "abc"]
        monkeypatch.setattr(Line, "fetch", watched)
        await bench.perform(bench.batch(*(BatchEvent(key, "1") for key in "cab")))
        assert seen == [sorted(ids)]
