"""Runs that go out in the commit that queues them: to whom, in what order, and what becomes of it when the commit
fails or he has gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.run_records import Run
from narrows.core.states import FactKind
from narrows.errors import Unauthenticated, Unavailable
from narrows.operations import handing
from narrows.operations.access import CreateApiKey, RevokeApiKey
from narrows.operations.base import HOST, Actor
from narrows.operations.claiming import Claims
from narrows.storage.backend import BackendFailure
from narrows.testing import settle
from tests.operations.claimers import MANY, Workers, ids, working
from tests.storage.kit import PROJECT, Backend, Bench
from tests.storage.runs import PutJob
from tests.workflows.kit import Workflows, step, wait


def kinds(bench: Bench) -> list[str]:
    """Of the newest commit."""
    return [fact.kind for fact in bench.commits[-1].facts]


def failing(workers: Workers, failure: BackendFailure, times: int = 1) -> None:
    """Let the next commits fail when all is written."""
    left = [failure] * times

    def fail(step: str) -> None:
        if step == "flushed" and left:
            raise left.pop()

    workers.bench.store.writer.failpoint = fail


def ids_of(runs: Any) -> list[str]:
    return [run.id for run in runs]


async def nobody_looked(workers: Workers) -> None:
    await workers.quiet()
    assert workers.looks == []


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


async def test_the_first_who_waits_gets_the_highest_priority_and_each_as_many_as_he_has_room_for(
    backend: Backend,
) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        tasks = [await workers.parked(limit=2), await workers.parked(), await workers.parked()]
        workers.looks.clear()
        made: list[Run] = await workers.bench.together(
            *(workers.triggering("build", priority=priority) for priority in (0, 5, 9, 5, 1))
        )
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        by_priority = sorted(made, key=lambda run: (-run.priority, run.id))
        assert ids(*tasks) == [run.id for run in by_priority[:4]]
        assert [len(task.result()) for task in tasks] == [2, 1, 1]
        await nobody_looked(workers)
        assert (await workers.runs.get(by_priority[4])).status == "queued"


async def test_one_who_waits_for_several_jobs_gets_of_all_of_them(backend: Backend) -> None:
    async with working(backend) as workers:
        for slug in ("a", "b", "c"):
            await workers.runs.put(slug)
        both, only_b = await workers.parked("a", "b", limit=2), await workers.parked("b")
        workers.looks.clear()
        made = await workers.bench.together(*(workers.triggering(slug) for slug in ("a", "c", "b", "b")))
        await asyncio.wait_for(asyncio.gather(both, only_b), 5)
        assert ids(both, only_b) == [made[0].id, made[2].id, made[3].id]
        await nobody_looked(workers)
        assert workers.claims.waiting == 0


@pytest.mark.parametrize("jobs", [("limited",), ("limited", "build")])
async def test_who_waits_for_a_job_with_a_limit_looks_for_himself(
    backend: Backend, jobs: tuple[str, ...]
) -> None:
    """Something older may lie queued there, for which there is room by now."""
    async with working(backend) as workers:
        await workers.runs.put()
        await workers.runs.put("limited", max_concurrency=MANY)
        waiting = await workers.parked(*jobs)
        workers.looks.clear()
        run = await workers.runs.trigger(jobs[-1])
        assert [each.id for each in await asyncio.wait_for(waiting, 5)] == [run.id]
        assert kinds(workers.bench) == [FactKind.RUN_DISPATCHED]
        assert workers.looks == [1]


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


async def with_key(bench: Bench) -> Actor:
    """Somebody with an API key."""
    making = CreateApiKey(
        actor=HOST,
        entropy=bench.entropy(),
        id="k",
        project_id=PROJECT,
        name=None,
        scopes=("*",),
        secret_hash="h",
    )
    await bench.perform(making)
    return Actor("key:k", "k")


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


async def test_who_goes_while_the_commit_is_under_way_gives_the_run_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        gone, loop = await workers.parked(), asyncio.get_running_loop()
        reserve = Claims.reserve

        def and_leave(claims: Claims, project_id: str, job_id: str) -> Any:
            found = reserve(claims, project_id, job_id)
            loop.call_soon_threadsafe(gone.cancel)
            return found

        monkeypatch.setattr(Claims, "reserve", and_leave)
        run = await workers.runs.trigger()
        await asyncio.wait([gone])
        await workers.quiet()
        stored = await workers.runs.get(run)
        assert (stored.status, stored.attempt, stored.dispatch) == ("queued", 1, 1)
        assert workers.claims.waiting == 0


async def test_whose_time_ends_while_the_commit_is_under_way_gets_the_run(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked(wait_secs=30)
        reserve = Claims.reserve

        def and_wait(claims: Claims, project_id: str, job_id: str) -> Any:
            found = reserve(claims, project_id, job_id)
            workers.bench.clock.advance(secs=30)
            return found

        monkeypatch.setattr(Claims, "reserve", and_wait)
        run = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [run.id]


async def test_beyond_what_one_commit_hands_out_the_next_ones_do(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing, "MAX_HANDED", 2)
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = [await workers.parked() for _ in range(5)]
        workers.looks.clear()
        await workers.bench.together(*(workers.triggering("build") for _ in range(4)))
        await asyncio.wait_for(asyncio.gather(*waiting[:4]), 5)
        await workers.quiet()
        assert (workers.looks, workers.claims.waiting) == ([2], 1)
        workers.claims.close()


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


async def test_when_the_server_stops_meanwhile_the_run_is_had_all_the_same(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting, loop = await workers.parked(), asyncio.get_running_loop()
        reserve = Claims.reserve

        def and_stop(claims: Claims, project_id: str, job_id: str) -> Any:
            found = reserve(claims, project_id, job_id)
            loop.call_soon_threadsafe(claims.close)
            return found

        monkeypatch.setattr(Claims, "reserve", and_stop)
        run = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [run.id]
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
