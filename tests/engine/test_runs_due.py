"""Waking runs over a real store: at their times, after lost leases, and what a start takes back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from narrows.core.runs import SERVER_LEASE_US, WORKER_LEASE_US
from narrows.engine import runs_due
from narrows.engine.loop import Engine
from narrows.engine.runs_due import POSTPONE_US, WakeRunsRole
from narrows.errors import InvariantViolated
from narrows.operations.dispatch import RenewLeases, WakeRuns
from narrows.testing import settle
from tests.storage.fixtures import backend
from tests.storage.kit import Backend, opened
from tests.storage.runs import SECOND, Runs

__all__ = ["backend"]

HOLDER = "server:new"


@contextlib.asynccontextmanager
async def running(backend: Backend) -> AsyncIterator[tuple[Runs, WakeRunsRole]]:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        yield runs, WakeRunsRole(bench.service, HOLDER)


async def rounds_until_idle(role: WakeRunsRole, runs: Runs) -> int | None:
    for _ in range(50):
        due = await role.round()
        if due is None or due > runs.bench.clock.now():
            return due
    raise AssertionError("the role finds no end")


async def test_a_delayed_run_is_queued_at_its_time_and_not_before(backend: Backend) -> None:
    async with running(backend) as (runs, role):
        due = runs.bench.clock.now() + 5 * SECOND
        run = await runs.trigger(scheduled_at=due)
        assert await rounds_until_idle(role, runs) == due
        runs.bench.clock.advance_to(due - 1)
        assert await rounds_until_idle(role, runs) == due
        assert (await runs.get(run)).status == "delayed"
        runs.bench.clock.advance_to(due)
        assert await rounds_until_idle(role, runs) is None
        assert (await runs.get(run)).status == "queued"
        assert role.lateness.quantile_secs(1.0) <= 0.0005


async def test_a_commit_asks_for_a_round_at_its_due_time(backend: Backend) -> None:
    async with running(backend) as (runs, role):
        engine = Engine(runs.bench.service, [role])
        engine.start()
        due = runs.bench.clock.now() + SECOND
        run = await runs.trigger(scheduled_at=due)
        while runs.bench.clock.next_due != due:
            await settle(2)
        runs.bench.clock.advance_to(due)
        while (await runs.get(run)).status != "queued":
            await settle(2)
        await engine.stop()


async def test_a_lost_lease_is_an_attempt_and_a_renewed_one_is_left_alone(backend: Backend) -> None:
    async with running(backend) as (runs, role):
        await rounds_until_idle(role, runs)
        lost, kept = await runs.dispatch(), await runs.dispatch()
        runs.bench.clock.advance(us=WORKER_LEASE_US // 2)
        lease = (kept.project_id, kept.id, kept.dispatch)
        renewal = RenewLeases(leases=(lease,), lease_us=WORKER_LEASE_US, entropy=1)
        assert await runs.bench.perform(renewal) == (True,)
        runs.bench.clock.advance_to(lost.due_at or 0)
        await rounds_until_idle(role, runs)
        found = await runs.get(lost)
        assert (found.status, found.attempt) == ("queued", 2)
        assert (await runs.get(kept)).status == "executing"


async def test_a_node_that_starts_leaves_alone_what_other_nodes_execute(backend: Backend) -> None:
    async with running(backend) as (runs, role):
        if runs.bench.store.members.is_alone:
            return  # an embedded store has one node: see the next test
        others = await runs.dispatch(holder="server:other")
        await rounds_until_idle(role, runs)
        assert (await runs.get(others)).status == "executing"
        runs.bench.clock.advance(us=SERVER_LEASE_US + SECOND)
        await rounds_until_idle(role, runs)
        assert (await runs.get(others)).attempt == 2, "its lease was over"


async def test_a_start_queues_the_servers_own_and_gives_workers_time(backend: Backend) -> None:
    async with running(backend) as (runs, role):
        if not runs.bench.store.members.is_alone:
            return  # see the test before
        own = await runs.dispatch(holder="server:old")
        workers = await runs.dispatch()
        living = await runs.dispatch(holder=HOLDER)
        runs.bench.clock.advance(us=WORKER_LEASE_US - SERVER_LEASE_US // 2)
        now = runs.bench.clock.now()
        await rounds_until_idle(role, runs)
        taken = await runs.get(own)
        assert (taken.status, taken.attempt) == ("queued", 1)
        assert ((await runs.get(workers)).due_at or 0) >= now + WORKER_LEASE_US
        assert (await runs.get(living)).attempt == 2, "its lease was over"


async def test_many_go_in_bounded_operations(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_due, "RUNS_AN_OPERATION", 4)
    async with running(backend) as (runs, role):
        made = [await runs.trigger(scheduled_at=runs.bench.clock.now() + SECOND) for _ in range(9)]
        runs.bench.clock.advance(secs=2)
        await rounds_until_idle(role, runs)
        assert role.woken == 9
        assert {(await runs.get(run)).status for run in made} == {"queued"}


async def test_one_that_breaks_an_invariant_keeps_nobody_else_waiting(backend: Backend) -> None:
    async with running(backend) as (runs, role):
        made = [await runs.trigger(scheduled_at=runs.bench.clock.now() + SECOND) for _ in range(5)]
        runs.bench.clock.advance(secs=2)
        perform = runs.bench.service.perform

        async def poisoned(operation: Any) -> Any:
            if isinstance(operation, WakeRuns) and any(run_id == made[2].id for _, run_id in operation.ids):
                raise InvariantViolated("poisoned")
            return await perform(operation)

        runs.bench.service.perform = poisoned  # type: ignore[method-assign]
        assert await rounds_until_idle(role, runs) == runs.bench.clock.now() + POSTPONE_US
        assert role.woken == 4
        runs.bench.service.perform = perform  # type: ignore[method-assign]
        runs.bench.clock.advance(us=POSTPONE_US)
        await rounds_until_idle(role, runs)
        assert role.woken == 5
