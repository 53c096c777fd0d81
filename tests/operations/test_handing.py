"""Runs that go out in the commit that queues them: when they do, and what becomes of it when the commit
fails or he has gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.states import FactKind
from narrows.errors import Unauthenticated, Unavailable
from narrows.operations import handing
from narrows.operations.access import RevokeApiKey
from narrows.operations.base import HOST
from narrows.storage.backend import BackendFailure
from narrows.testing import settle
from tests.operations.claimers import (
    failing,
    handing_out,
    ids_of,
    kinds,
    nobody_looked,
    with_key,
    working,
)
from tests.storage.kit import PROJECT, Backend
from tests.storage.runs import PutJob
from tests.workflows.kit import Workflows, step, wait


async def test_who_waits_has_the_run_by_the_commit_that_queues_it(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        first, second = await workers.parked(), await workers.parked()
        workers.looks.clear()
        run = await workers.runs.trigger()
        (got,) = await asyncio.wait_for(first, 5)
        assert (got.id, got.status, got.dispatch, got.holder) == (run.id, "executing", 1, "worker:w")
        assert kinds(workers.bench) == [FactKind.RUN_CREATED, FactKind.RUN_DISPATCHED]
        assert got == await workers.runs.get(run)
        await nobody_looked(workers)
        assert not second.done()
        assert workers.claims.waiting == 1
        second.cancel()


async def test_the_event_that_a_workflow_waits_for_hands_out_its_next_step(backend: Backend) -> None:
    async with working(backend) as workers:
        workflows = Workflows(workers.bench)
        await workers.runs.put("j")
        await workflows.begin(wait("hold"), step("after", "hold"))
        waiting = await workers.parked("j")
        workers.looks.clear()
        await workers.bench.send("hold")
        (run,) = await asyncio.wait_for(waiting, 5)
        found = kinds(workers.bench)
        assert found.index(FactKind.TRIGGER_RECEIVED) < found.index(FactKind.RUN_DISPATCHED)
        assert run.workflow_run_id is not None
        await nobody_looked(workers)


async def test_a_limit_that_comes_with_the_run_holds(backend: Backend) -> None:
    async with working(backend) as workers:
        job = await workers.runs.put()
        waiting = [await workers.parked(), await workers.parked()]
        limited = PutJob(job._replace(max_concurrency=1, version=2))
        await workers.bench.together(limited, workers.triggering("build"), workers.triggering("build"))
        await workers.quiet()
        assert sorted(task.done() for task in waiting) == [False, True]
        assert workers.claims.waiting == 1
        workers.claims.close()


async def test_a_key_that_was_revoked_meanwhile_gets_nothing(backend: Backend) -> None:
    async with working(backend) as workers:
        bench = workers.bench
        await workers.runs.put()
        waiting = await workers.parked(actor=await with_key(bench))
        revoking = RevokeApiKey(actor=HOST, entropy=bench.entropy(), project_id=PROJECT, api_key_id="k")
        await bench.perform(revoking)
        run = await workers.runs.trigger()
        with pytest.raises(Unauthenticated):
            await asyncio.wait_for(waiting, 5)
        assert (await workers.runs.get(run)).status == "queued"


async def test_a_key_that_holds_gets_the_run(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked(actor=await with_key(workers.bench))
        workers.looks.clear()
        run = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [run.id]
        await nobody_looked(workers)


async def test_a_commit_that_is_tried_again_gives_the_run_to_one(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = [await workers.parked(), await workers.parked()]
        failing(workers, BackendFailure("a race was lost", retry=True))
        run = await workers.runs.trigger()
        await workers.quiet()
        assert sorted(task.done() for task in waiting) == [False, True]
        got = next(task.result() for task in waiting if task.done())
        assert ids_of(got) == [run.id]
        assert (await workers.runs.get(run)).dispatch == 1
        facts = [[fact.kind for fact in commit.facts] for commit in workers.bench.commits if commit.facts]
        assert facts[-2:] == [[FactKind.RUN_CREATED], [FactKind.RUN_DISPATCHED]], (
            "only the first try hands out"
        )
        assert workers.claims.waiting == 1
        workers.claims.close()


async def test_of_a_commit_that_fails_nobody_has_anything_and_he_waits_on(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked()
        failing(workers, BackendFailure("the disk is full"))
        with pytest.raises(Unavailable):
            await workers.runs.trigger()
        await workers.quiet()
        assert not waiting.done()
        run = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [run.id]


async def test_who_goes_while_the_commit_is_under_way_gives_the_run_back(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        gone = await workers.parked()
        async with handing_out(workers) as triggering:
            gone.cancel()
            await asyncio.wait([gone])
        await workers.quiet()
        stored = await workers.runs.get(triggering.result())
        assert (stored.status, stored.attempt, stored.dispatch) == ("queued", 1, 1)
        assert workers.claims.waiting == 0


async def test_whose_time_ends_while_the_commit_is_under_way_gets_the_run(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked(wait_secs=30)
        async with handing_out(workers) as triggering:
            workers.bench.clock.advance(secs=30)
            await settle(10)
            assert not waiting.done()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [triggering.result().id]


async def test_a_run_that_is_given_back_goes_to_the_next_who_waits(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        gone, stays = await workers.parked(), await workers.parked()

        def leave(committed: Any) -> None:
            if committed.handed:
                gone.cancel()

        workers.bench.feed.subscribe(leave)
        run = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(stays, 5)) == [run.id]
        await settle(3)
        assert gone.cancelled()


async def test_when_the_server_stops_meanwhile_the_run_is_had_all_the_same(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked()
        async with handing_out(workers) as triggering:
            workers.claims.close()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [triggering.result().id]
        assert await workers.start() == ()


async def test_a_run_whose_job_is_deleted_in_the_same_commit_is_handed_to_nobody(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked()
        deleting = workers.runs.deleting("build", cancel_runs=True)
        (run, _) = await workers.bench.together(workers.triggering("build"), deleting)
        await workers.quiet()
        assert (await workers.runs.get(run)).status == "queued"  # and is canceled by the commits that follow
        assert not waiting.done()
        assert workers.claims.waiting == 1
        workers.claims.close()


async def test_who_has_gone_when_the_commit_fails_is_not_looked_for(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        gone = await workers.parked()
        failing(workers, BackendFailure("a race was lost", retry=True))
        async with handing_out(workers) as triggering:
            gone.cancel()
            await asyncio.wait([gone])
        await workers.quiet()
        assert (await workers.runs.get(triggering.result())).dispatch == 0


async def test_a_fault_of_handing_out_is_not_the_senders(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked()

        def broken(*given: Any) -> bool:
            raise ValueError("it cannot be looked at")

        monkeypatch.setattr(handing, "_may_have", broken)
        run = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [run.id]


async def test_while_more_waits_to_be_written_runs_are_left_to_claims(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = [await workers.parked() for _ in range(2)]
        workers.looks.clear()
        workers.bench.store.writer._max_batch = 1
        made = await workers.bench.together(workers.triggering("build"), workers.triggering("build"))
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        of_first = [
            fact for commit in workers.bench.commits for fact in commit.facts if fact.subject_id == made[0].id
        ]
        created, dispatched = of_first
        assert created.at < dispatched.at
        assert workers.looks
