"""How runs end: canceled in every state, failed and tried again, lost with their lease, taken back at a
restart; and what a replay takes along. What happens before that is in `test_runs.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from narrows.core.run_records import Run
from narrows.core.runs import WORKER_LEASE_US
from narrows.errors import Conflict, Gone
from narrows.operations.base import DEV
from narrows.operations.dispatch import (
    TakeBackDispatches,
)
from narrows.operations.run_plane import (
    FailRun,
    Heartbeat,
    ReleaseRun,
    SaveCheckpoint,
)
from narrows.operations.runs import CancelRun, ReplayRun
from tests.storage.kit import PROJECT, Backend, opened
from tests.storage.runs import SECOND, Runs

LONG = '"' + "x" * 3_000 + '"'


async def _nothing(runs: Runs, run: Run) -> None:
    return None


async def _waits(runs: Runs, run: Run) -> None:
    await runs.wait(run, "a", "b")


async def _fails(runs: Runs, run: Run) -> None:
    await runs.bench.perform(FailRun(**runs.of_dispatch(run), error="x", body_hash="f"))


async def _gives_back(runs: Runs, run: Run) -> None:
    await runs.bench.perform(ReleaseRun(**runs.of_dispatch(run), body_hash="r"))


@pytest.mark.parametrize("state", [_nothing, _waits, _fails, _gives_back])
async def test_a_run_is_canceled_in_every_state_with_all_that_it_waits_for(
    backend: Backend, state: Callable[[Runs, Run], Awaitable[None]]
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await state(runs, run)
        cancel = CancelRun(actor=DEV, project_id=PROJECT, entropy=1, run_id=run.id)
        assert (await bench.perform(cancel)).status == "canceled"
        assert all(trigger.status == "canceled" for trigger in await bench.listed())
        with pytest.raises(Conflict, match="already canceled"):
            await bench.perform(cancel)
        with pytest.raises(Gone):
            await bench.perform(Heartbeat(**runs.of_dispatch(run), lease_us=1))
    assert backend.faults() == []


async def test_failures_are_tried_again_until_the_dead_letter_and_count_anew_after_a_wait(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put(max_attempts=2)
        run = await runs.dispatch()
        failed = await runs.finish(run, completed=False, error="503", retry_after_secs=7)
        assert failed is not None
        assert (failed.status, failed.attempt, failed.error) == ("delayed", 2, "503")
        assert failed.due_at == bench.commits[-1].now + 7 * SECOND
        bench.clock.advance(us=8 * SECOND)
        await runs.wake(run)
        (run,) = await runs.claim()
        await runs.wait(run, "k")
        await bench.send("k")
        for attempt, status in ((1, "delayed"), (2, "dead_letter")):
            (run,) = await runs.claim()
            assert run.attempt == attempt
            assert await bench.perform(FailRun(**runs.of_dispatch(run), error="x", body_hash="f")) == status
            bench.clock.advance(us=400 * SECOND)
            await runs.wake(run)
    assert backend.faults() == []


async def test_a_failure_that_is_not_to_be_tried_again_has_failed(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        failing = FailRun(**runs.of_dispatch(run), error="never", retry=False, body_hash="f")
        assert await bench.perform(failing) == "failed"


async def test_a_lost_lease_is_an_attempt_and_one_given_back_is_not(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put(max_attempts=2)
        run = await runs.dispatch()
        await bench.perform(ReleaseRun(**runs.of_dispatch(run), body_hash="r"))
        (run,) = await runs.claim()
        assert (run.dispatch, run.attempt) == (2, 1)
        bench.clock.advance(us=WORKER_LEASE_US - 1)
        assert await runs.wake(run) == 0
        bench.clock.advance(us=1 + SECOND)
        assert await runs.wake(run) == 1
        (run,) = await runs.claim()
        assert (run.dispatch, run.attempt) == (3, 2)
        bench.clock.advance(us=WORKER_LEASE_US + SECOND)
        await runs.wake(run)
        assert (await runs.get(run)).status == "dead_letter"


async def test_a_lease_is_renewed_but_never_beyond_the_time_of_its_dispatch(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put(timeout_secs=100)
        run = await runs.dispatch()
        bench.clock.advance(us=50 * SECOND)
        beat = Heartbeat(**runs.of_dispatch(run), lease_us=WORKER_LEASE_US)
        renewed = await bench.perform(beat)
        assert renewed.due_at == (run.dispatched_at or 0) + 100 * SECOND
        bench.clock.advance(us=51 * SECOND)
        assert await runs.wake(run) == 1
        lost = await runs.get(run)
        assert (lost.status, lost.error) == ("delayed", "the dispatch took longer than 100 s")


async def test_a_restarted_server_queues_its_own_dispatches_and_spares_the_workers(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        mine, theirs = await runs.dispatch(holder="server:old"), await runs.dispatch()
        bench.clock.advance(us=59 * SECOND)
        taken = TakeBackDispatches(
            ids=((PROJECT, mine.id), (PROJECT, theirs.id)),
            holder="server:new",
            grace_us=60 * SECOND,
            entropy=1,
        )
        assert await bench.perform(taken) == 1
        queued = await runs.get(mine)
        assert (queued.status, queued.attempt) == ("queued", 1)
        bench.clock.advance(us=30 * SECOND)
        assert await runs.wake(theirs) == 0
        assert (await runs.get(theirs)).status == "executing"


async def test_a_replay_is_a_new_run_that_knows_how_the_last_wait_ended(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put(max_attempts=1)
        run = await runs.dispatch(payload=LONG)
        await bench.perform(SaveCheckpoint(**runs.of_dispatch(run), state=LONG))
        replaying = ReplayRun(actor=DEV, project_id=PROJECT, entropy=5, run_id=run.id)
        with pytest.raises(Conflict, match="executing"):
            await bench.perform(replaying)
        await runs.wait(run, "k")
        await bench.send("k", "1")
        (run,) = await runs.claim()
        await bench.perform(FailRun(**runs.of_dispatch(run), error="x", body_hash="f"))
        replayed = await bench.perform(replaying)
        assert (replayed.status, replayed.replay_of, replayed.attempt) == ("queued", run.id, 1)
        ended = await runs.get(run)
        assert (replayed.payload_id, replayed.state_id) == (ended.payload_id, ended.state_id)
        assert replayed.wait_group_id == ended.wait_group_id
        ((_, _, text, _),) = await bench.rows("payloads_by_id", (PROJECT, replayed.payload_id))
        assert text == LONG
        (again,) = await runs.claim()
        await bench.perform(SaveCheckpoint(**runs.of_dispatch(again), state="2"))
        assert len(await bench.rows("payloads_by_id", (PROJECT, ended.state_id or ""))) == 1
    assert backend.faults() == []
