"""Who gets what of the runs that go out in the commit that queues them: as it would be if all looked for themselves,
the highest priority first, then the oldest."""

from __future__ import annotations

import asyncio

import pytest

from narrows.core.run_records import Run
from narrows.core.states import FactKind
from narrows.errors import Unauthenticated
from narrows.operations import handing
from narrows.operations.access import RevokeApiKey
from narrows.operations.base import HOST
from tests.operations.claimers import (
    MANY,
    ids,
    ids_of,
    kinds,
    nobody_looked,
    with_key,
    working,
)
from tests.storage.kit import PROJECT, Backend


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


async def test_who_waits_for_a_job_with_a_limit_too_is_woken_and_nobody_else(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        await workers.runs.put("limited", max_concurrency=MANY)
        waiting = [await workers.parked("build", "limited") for _ in range(3)]
        workers.looks.clear()
        await workers.runs.trigger()
        await asyncio.wait_for(waiting[0], 5)
        await workers.quiet()
        assert (workers.looks, workers.claims.waiting) == ([1], 2)
        workers.claims.close()


async def test_where_the_first_cannot_be_handed_the_higher_priority_nobody_gets_the_lower(
    backend: Backend,
) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        await workers.runs.put("limited", max_concurrency=MANY)
        first, second = await workers.parked("build", "limited"), await workers.parked("build")
        low, high = await workers.bench.together(
            workers.triggering("build", priority=0), workers.triggering("build", priority=9)
        )
        await asyncio.wait_for(asyncio.gather(first, second), 5)
        assert ids(first, second) == [high.id, low.id]


async def test_where_the_first_is_refused_the_next_gets_the_higher_priority(backend: Backend) -> None:
    async with working(backend) as workers:
        bench = workers.bench
        await workers.runs.put()
        refused, next_one = await workers.parked(actor=await with_key(bench)), await workers.parked()
        revoking = RevokeApiKey(actor=HOST, entropy=bench.entropy(), project_id=PROJECT, api_key_id="k")
        await bench.perform(revoking)
        low, high = await bench.together(
            workers.triggering("build", priority=0), workers.triggering("build", priority=9)
        )
        assert ids_of(await asyncio.wait_for(next_one, 5)) == [high.id]
        with pytest.raises(Unauthenticated):
            await refused
        assert (await workers.runs.get(low)).status == "queued"


async def test_who_has_room_left_gets_what_others_have_no_room_for(backend: Backend) -> None:
    async with working(backend) as workers:
        for slug in ("a", "b", "c"):
            await workers.runs.put(slug)
        roomy, full = await workers.parked("a", "b", limit=5), await workers.parked("b", "c")
        made = await workers.bench.together(*(workers.triggering(slug) for slug in ("a", "c", "b")))
        await asyncio.wait_for(asyncio.gather(roomy, full), 5)
        assert ids(roomy, full) == [made[0].id, made[2].id, made[1].id]


async def test_what_was_left_queued_before_is_not_overtaken(backend: Backend) -> None:
    """One commit queues where nobody is parked yet; before he who looked has heard of it the next one comes."""
    async with working(backend) as workers:
        await workers.runs.put()
        await workers.runs.put("other")
        waiting = await workers.parked("other")
        older = await workers.runs.trigger()
        (claimer,) = workers.claims._parked._keys
        workers.claims._parked.put(claimer, ((PROJECT, "build"),), first=True)
        newer = await workers.runs.trigger()
        assert (await workers.runs.get(newer)).status == "queued"
        assert ids_of(await workers.start(limit=2)) == [older.id, newer.id]
        workers.claims.close()
        assert await waiting == ()


async def test_a_job_that_is_named_twice_is_one(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        waiting = await workers.parked("build", "build")
        run = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [run.id]


async def test_who_waits_for_a_job_of_which_something_was_left_gets_of_no_other(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put("a")
        await workers.runs.put("b")
        waiting = await workers.parked("a")
        older = await workers.runs.trigger("b")
        (claimer,) = workers.claims._parked._keys
        claimer.keys = ((PROJECT, "a"), (PROJECT, "b"))
        newer = await workers.runs.trigger("a")
        assert FactKind.RUN_DISPATCHED not in kinds(workers.bench)
        # He was woken, and looked for a alone.
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [newer.id]
        assert (await workers.runs.get(older)).status == "queued"


async def test_when_what_was_left_is_claimed_runs_are_handed_out_again(backend: Backend) -> None:
    async with working(backend) as workers:
        await workers.runs.put()
        older = await workers.runs.trigger()
        assert ids_of(await workers.start()) == [older.id]
        waiting = await workers.parked()
        workers.looks.clear()
        newer = await workers.runs.trigger()
        assert ids_of(await asyncio.wait_for(waiting, 5)) == [newer.id]
        await nobody_looked(workers)
