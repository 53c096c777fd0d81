"""Workflow runs on several nodes: what a turn locks when it is known, held open at its very point."""

from __future__ import annotations

import asyncio
from typing import Any

from narrows.core.records import Root
from narrows.engine.consume import ConsumeMessagesRole
from narrows.operations.reads import PendingMessages
from narrows.storage.transaction import Limits
from tests.storage.kit import PROJECT, PostgresBackend
from tests.storage.nodes.kit import Points, node, until, waiting_for_locks
from tests.workflows.kit import Workflows, step, wait


async def test_a_wait_that_a_step_opens_and_its_event_meet_though_neither_sees_the_other(
    database: PostgresBackend,
) -> None:
    """The event has found nothing and is held, not yet committed; the step's turn may not overlook it."""
    async with node(database) as one, node(database) as other:
        flows = Workflows(one)
        run_id = await flows.begin(wait("first"), wait("second", "first", key="k"))
        with Points(other).holding("flushed") as reached:
            event = asyncio.create_task(other.send("k", "7", hold_secs=60))
            await reached.wait()
            advance = asyncio.create_task(one.send("first", "1"))
            await until(lambda: waiting_for_locks(database) or advance.done())
            assert not advance.done()
        await asyncio.gather(event, advance)
        assert await flows.status(run_id) == "completed"
        assert await flows.output(run_id, "second") == 7


async def test_a_claim_on_one_node_and_a_cancel_on_another_wait_in_no_circle(
    database: PostgresBackend,
) -> None:
    """Whoever hands runs out has locked them without their workflow run; whoever ends it must have them too."""
    async with node(database) as one, node(database) as other:
        flows, theirs = Workflows(one), Workflows(other)
        await flows.job()
        run_id = await flows.begin(step("a"), step("b"))
        with Points(other).holding("flushed") as reached:
            claim = asyncio.create_task(theirs.claim(1))
            await reached.wait()
            cancel = asyncio.create_task(flows.cancel(run_id))
            await until(lambda: waiting_for_locks(database) or cancel.done())
            assert not cancel.done()
        (claimed,), _ = await asyncio.gather(claim, cancel)
        assert await flows.states(run_id) == "xx"
        assert {run.status for run in await flows.job_runs(run_id)} == {"canceled"}
        assert await other.service.perform(theirs.finishing(claimed, 1)) is None


async def test_events_of_one_workflow_run_from_two_nodes_start_what_depends_on_both_once(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        flows = Workflows(one)
        await flows.job()
        await flows.define(wait("a", key="a:{{n}}"), wait("b", key="b:{{n}}"), step("after", "a", "b"))
        runs = [await flows.start({"n": number}) for number in range(30)]
        sends: list[Any] = []
        for number in range(30):
            sends += [one.send(f"a:{number}", "1"), other.send(f"b:{number}", "1")]
        await asyncio.gather(*sends)
        assert {await flows.states(run_id) for run_id in runs} == {"ccr"}
        assert await flows.work() == 30
        assert {await flows.status(run_id) for run_id in runs} == {"completed"}


async def test_two_nodes_open_waits_under_one_key_and_one_step_is_told(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as other:
        flows, theirs = Workflows(one), Workflows(other)
        await flows.define(wait("in", key="in:{{n}}"), wait("same", "in", key="same", on_failure="continue"))
        first, second = await flows.start({"n": 1}), await flows.start({"n": 2})
        await asyncio.gather(one.send("in:1", "1"), other.send("in:2", "1"))
        assert sorted([await flows.states(first), await theirs.states(second)]) == ["cf", "cw"]


async def test_what_descends_from_one_workflow_run_is_counted_exactly_over_all_nodes(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        for bench in (one, other):
            bench.store.writer.limits = Limits(descendants=30)
        flows = Workflows(one)
        roles = [ConsumeMessagesRole(bench.service) for bench in (one, other)]
        itself = {"type": "sub_workflow", "workflow_slug": "w", "on_failure": "continue"}
        run_id = await flows.begin(*[step(f"s{number}", **itself) for number in range(4)])
        while messages := await one.service.read(PendingMessages(64)):
            # Whoever's they are: half of them here, half of them there.
            halves = zip(messages, [*roles, *roles[::-1]] * len(messages), strict=False)
            await asyncio.gather(*[role._step(message) for message, role in halves])
        (root,) = await one.rows("roots_by_id", (PROJECT, run_id))
        assert Root(*root).descendants == 30
        assert len(await flows.listed()) == 31
