"""Workers that wait for runs: who is woken, in what order, and that nobody and nothing is forgotten. (Who need not be
woken is in `test_handing.py`.)"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from narrows.errors import Unauthenticated, Unavailable
from narrows.operations.base import Actor
from narrows.storage.backend import BackendFailure
from narrows.testing import settle
from tests.operations.claimers import MANY, failing, ids, working
from tests.storage.kit import PROJECT, Backend
from tests.storage.runs import PutJob


async def test_what_is_queued_is_had_at_once(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        made = [await workers.runs.trigger() for _ in range(3)]
        found = await workers.start(limit=2)
        assert [run.id for run in found] == [run.id for run in made[:2]]
        assert found[0].status == "executing"
        assert found[0].dispatch == 1


async def test_a_claim_without_waiting_answers_at_once(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        assert await workers.start(wait_secs=0) == ()
        assert workers.claims.waiting == 0


async def test_who_finds_nothing_in_his_time_gets_nothing(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        task = await workers.parked(wait_secs=30)
        workers.bench.clock.advance(secs=30)
        assert await task == ()
        assert workers.claims.waiting == 0


async def test_a_run_wakes_one_of_those_who_wait_the_first(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put(max_concurrency=MANY)
        tasks = [await workers.parked() for _ in range(5)]
        workers.looks.clear()
        run = await workers.runs.trigger()
        assert [each.id for each in await tasks[0]] == [run.id]
        await workers.quiet()
        assert workers.looks == [1]
        assert workers.claims.waiting == 4


async def test_as_many_are_woken_as_runs_were_queued_and_share_one_look(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put(max_concurrency=MANY)
        tasks = [await workers.parked() for _ in range(6)]
        workers.looks.clear()
        await workers.bench.together(*(workers.triggering("build") for _ in range(4)))
        await asyncio.gather(*tasks[:4])
        await workers.quiet()
        assert workers.looks == [4]
        assert workers.claims.waiting == 2
        assert len(set(ids(*tasks[:4]))) == 4


async def test_who_looked_in_vain_keeps_his_place(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put(max_concurrency=MANY)
        first, second = await workers.parked(), await workers.parked()
        await workers.runs.trigger()
        news = workers.bench.commits[-1]
        await first
        third = await workers.parked()
        workers.bench.feed.publish(news)  # late news of a run that is gone
        await workers.quiet()
        assert workers.looks[-1] == 1
        assert workers.claims.waiting == 2
        await workers.runs.trigger()
        await workers.quiet()
        assert second.done()
        assert not third.done()
        third.cancel()


async def test_who_is_filled_by_another_job_wakes_the_next(backend: Backend) -> None:
    """Two runs wake the same claimer; the one that he leaves must not lie beside who would take it."""
    async with working(backend) as workers:
        await workers.runs.put("a", max_concurrency=MANY)
        await workers.runs.put("b", max_concurrency=MANY)
        both, only_b = await workers.parked("a", "b"), await workers.parked("b")
        await workers.bench.together(workers.triggering("b"), workers.triggering("a", priority=5))
        await asyncio.wait_for(asyncio.gather(both, only_b), 5)
        assert [run.job_id for task in (both, only_b) for run in task.result()] == ["a", "b"]


async def test_a_place_that_becomes_free_wakes_a_claimer_of_a_limited_job(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put(max_concurrency=1)
        for _ in range(2):
            await workers.runs.trigger()
        (executing,) = await workers.start(limit=5)
        waiting = await workers.parked()
        await workers.runs.finish(executing, completed=True)
        (run,) = await asyncio.wait_for(waiting, 5)
        assert run.id != executing.id


async def test_a_larger_limit_wakes_claimers(backend: Backend) -> None:
    async with working(backend) as workers:
        job = await workers.runs.put(max_concurrency=1)
        for _ in range(3):
            await workers.runs.trigger()
        await workers.start()
        waiting = [await workers.parked() for _ in range(2)]
        await workers.bench.perform(PutJob(job._replace(max_concurrency=None, version=2)))
        await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_who_has_gone_while_he_waited_takes_nothing(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put(max_concurrency=MANY)
        gone, stays = await workers.parked(), await workers.parked()
        gone.cancel()
        await asyncio.wait([gone])
        await workers.runs.trigger()
        assert len(await asyncio.wait_for(stays, 5)) == 1


async def test_a_run_claimed_for_somebody_who_has_gone_is_given_back(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        run = await workers.runs.trigger()
        gone = workers.start()
        await settle(3)
        workers.bench.gate.shut()
        gone.cancel()
        await asyncio.wait([gone])
        workers.bench.gate.open()
        await workers.quiet()
        stored = await workers.runs.get(run)
        assert (stored.status, stored.attempt) == ("queued", 1)
        (again,) = await workers.start()
        assert (again.id, again.attempt) == (run.id, 1)


async def test_who_goes_when_he_has_been_given_a_run_gives_it_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is done and the claimer's task has not gone on yet."""
    async with working(backend) as workers:
        await workers.runs.put(max_concurrency=MANY)
        gone = await workers.parked()
        hand_over = workers.claims._hand_over

        def and_leave(*given: Any) -> None:
            hand_over(*given)
            gone.cancel()

        monkeypatch.setattr(workers.claims, "_hand_over", and_leave)
        run = await workers.runs.trigger()
        await asyncio.wait([gone])
        await workers.quiet()
        assert gone.cancelled()
        assert (await workers.runs.get(run)).status == "queued"


async def test_the_next_is_woken_when_the_one_who_was_has_gone(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put(max_concurrency=MANY)
        gone, stays = await workers.parked(), await workers.parked()

        def leave(committed: Any) -> None:
            if committed.runs:
                gone.cancel()

        workers.bench.feed.subscribe(leave)
        await workers.runs.trigger()
        assert len(await asyncio.wait_for(stays, 5)) == 1


async def test_a_refusal_and_a_full_queue_reach_the_claimer(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        with pytest.raises(Unauthenticated):
            await workers.start(actor=Actor("key:k", "nobody"))

        async def full(operation: Any) -> Any:
            raise Unavailable("The queue is full.")

        workers.bench.service.perform = full  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await workers.start()


async def test_at_the_stop_nobody_is_kept_waiting(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = [await workers.parked() for _ in range(3)]
        workers.claims.close()
        assert await asyncio.gather(*waiting) == [(), (), ()]
        assert await workers.start() == ()


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_lies_queued_beside_somebody_who_would_take_it(backend: Backend, seed: int) -> None:
    """Claimers of several jobs come and go while runs are triggered, and of some seeds commits fail and are tried
    again; in the end nobody waits for what is there, and every run was had by one."""
    rng = random.Random(seed)
    slugs = ("a", "b", "c")
    async with working(backend) as workers:
        for slug in slugs:
            await workers.runs.put(slug, max_concurrency=rng.choice((None, None, 3)))
        if seed % 3 == 0:
            now_and_then = random.Random(seed)
            failing(
                workers, BackendFailure("a race was lost", retry=True), lambda: now_and_then.random() < 0.1
            )
        claimers: list[asyncio.Task[Any]] = []
        triggers: list[asyncio.Task[Any]] = []
        for _ in range(150):
            dice = rng.random()
            if dice < 0.45:
                jobs = rng.sample(slugs, rng.randint(1, 3))
                claimers.append(workers.start(*jobs, limit=rng.randint(1, 3)))
            elif dice < 0.85:
                triggers.append(asyncio.ensure_future(workers.runs.trigger(rng.choice(slugs))))
            elif claimers:
                rng.choice(claimers).cancel()
            await settle(rng.choice((0, 0, 1, 5, 40)))
        await asyncio.gather(*triggers)
        await workers.quiet()
        for slug in slugs:
            assert not await workers.can_be_claimed(slug) or (PROJECT, slug) not in workers.claims._parked
        workers.claims.close()
        ended = await asyncio.gather(*claimers, return_exceptions=True)
        had = [run.id for runs in ended if isinstance(runs, tuple) for run in runs]
        assert len(had) == len(set(had))
        assert not [fault for fault in ended if isinstance(fault, Exception)]
