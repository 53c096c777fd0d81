"""Dispatching over a real store: who is called when, and what becomes of a run however its call ends.
The endpoints are a double that answers when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.run_records import Job
from narrows.core.runs import SERVER_LEASE_US
from narrows.core.states import OnEnd
from narrows.engine.in_flight import PATIENCE_US, RENEW_US
from narrows.errors import Unavailable
from narrows.operations.base import DEV
from narrows.operations.dispatch import ClaimRuns, DispatchResult, FinishDispatch
from narrows.operations.reads.luggage import Luggage
from narrows.operations.run_plane import CompleteRun
from narrows.operations.runs import CancelRun, TriggerJob
from narrows.storage.committed import Committed, Elsewhere
from narrows.testing import settle
from tests.engine.dispatch_kit import DONE, PATIENCE_SECS, URL, life
from tests.storage.fixtures import backend
from tests.storage.kit import PROJECT, Backend
from tests.storage.runs import SECOND, PutJob

__all__ = ["backend"]


async def test_a_run_is_called_and_completes_with_the_answer(backend: Backend) -> None:
    async with life(backend) as it:
        run = await it.runs.trigger(payload='{"n":1}')
        call = await it.called(1)
        assert (call.run.id, call.run.dispatch, call.luggage) == (run.id, 1, Luggage('{"n":1}', None))
        call.answer.set_result(DONE)
        assert (await it.is_now(run, "completed")).result == "1"
        await it.until(lambda: it.role.in_flight.results["completed"] == 1)


async def test_what_was_queued_before_the_start_is_called_and_a_large_payload_is_loaded(
    backend: Backend,
) -> None:
    large = '"' + "x" * 5_000 + '"'
    async with life(backend, started=False) as it:
        await it.runs.trigger(payload=large)
        it.engine.start()
        assert (await it.called(1)).luggage.payload == large


async def test_runs_of_workers_are_left_to_them(backend: Backend) -> None:
    async with life(backend, endpoint_url=None) as it:
        run = await it.runs.trigger()
        await it.rest()
        assert (await it.runs.get(run)).status == "queued"
        job = Job(*(await it.bench.rows("jobs_by_id", (PROJECT, "build")))[0])
        await it.bench.perform(PutJob(job._replace(endpoint_url=URL, version=2)))
        assert (await it.called(1)).run.id == run.id, "it has got an endpoint"


async def test_a_failure_is_tried_again_after_its_pause(backend: Backend) -> None:
    async with life(backend) as it:
        run = await it.runs.trigger()
        (await it.called(1)).answer.set_result(DispatchResult(False, None, "broken", True, 20))
        delayed = await it.is_now(run, "delayed")
        assert (delayed.attempt, delayed.error) == (2, "broken")
        await it.rest()
        it.bench.clock.advance_to(delayed.due_at or 0)
        call = await it.called(2)
        assert (call.run.id, call.run.attempt, call.run.dispatch) == (run.id, 2, 2)
        call.answer.set_result(DispatchResult(False, None, "no", False, None))
        assert (await it.is_now(run, "failed")).error == "no"
        results = it.role.in_flight.results
        await it.until(lambda: (results["retried"], results["failed"]) == (1, 1))


async def test_the_answer_of_a_dispatch_that_asked_to_wait_changes_nothing_and_the_event_calls_again(
    backend: Backend,
) -> None:
    async with life(backend) as it:
        run = await it.runs.trigger()
        first = await it.called(1)
        await it.runs.wait(first.run, "k", on_timeout=OnEnd.RESUME)
        await it.bench.send("k", '"hello"')
        second = await it.called(2)
        assert (second.run.dispatch, second.run.attempt) == (2, 1)
        trigger = await it.bench.get("k")
        assert second.luggage.resumed_by == trigger.id
        assert not first.broken_off, "it may still answer"
        first.answer.set_result(DispatchResult(True, '"early"', None, False, None))
        await it.rest()
        assert (await it.runs.get(run)).status == "executing"
        second.answer.set_result(DONE)
        assert (await it.is_now(run, "completed")).result == "1"


async def test_a_request_that_outlives_its_dispatch_is_broken_off_after_some_patience(
    backend: Backend,
) -> None:
    async with life(backend) as it:
        await it.runs.trigger()
        call = await it.called(1)
        await it.bench.perform(CompleteRun(**it.runs.of_dispatch(call.run), result="2", body_hash="h"))
        await it.rest()
        assert not call.broken_off
        it.bench.clock.advance(us=PATIENCE_US)
        await it.until(lambda: call.broken_off)


async def test_a_canceled_run_breaks_its_request_off_at_once(backend: Backend) -> None:
    async with life(backend) as it:
        run = await it.runs.trigger()
        call = await it.called(1)
        cancel = CancelRun(actor=DEV, project_id=PROJECT, entropy=it.bench.entropy(), run_id=run.id)
        await it.bench.perform(cancel)
        await it.until(lambda: call.broken_off)
        assert (await it.runs.get(run)).status == "canceled"


async def test_old_news_of_a_run_leave_its_newer_dispatch_alone(backend: Backend) -> None:
    """Another node's hint, after which the run was read before it was handed out here."""
    async with life(backend) as it:
        queued = await it.runs.trigger()
        call = await it.called(1)
        it.bench.feed.publish(Committed((), (), (), (), 0, 0, 0.0, runs=(queued,), elsewhere=Elsewhere()))
        it.bench.clock.advance(secs=PATIENCE_US // SECOND + 1)
        await it.rest()
        assert not call.broken_off
        call.answer.set_result(DONE)
        await it.until(lambda: it.role.in_flight.results["completed"])


async def test_leases_are_renewed_as_long_as_the_endpoint_works(backend: Backend) -> None:
    async with life(backend) as it:
        run = await it.runs.trigger()
        call = await it.called(1)
        for _ in range(12):
            it.bench.clock.advance(us=RENEW_US + SECOND)
            now = it.bench.clock.now()
            async with asyncio.timeout(PATIENCE_SECS):
                while ((await it.runs.get(run)).due_at or 0) < now + SERVER_LEASE_US:
                    await asyncio.sleep(0)
        assert len(it.endpoints.calls) == 1
        call.answer.set_result(DONE)
        await it.is_now(run, "completed")


async def test_a_dispatch_whose_time_is_over_is_taken_from_it(backend: Backend) -> None:
    async with life(backend, timeout_secs=12) as it:
        run = await it.runs.trigger()
        call = await it.called(1)
        for _ in range(2):
            it.bench.clock.advance(us=RENEW_US)
            await it.rest()
        it.bench.clock.advance_to((call.run.dispatched_at or 0) + 12 * SECOND)
        assert "took longer than 12 s" in ((await it.is_now(run, "delayed")).error or "")


async def test_limits_hold_and_another_project_is_not_kept_waiting(backend: Backend) -> None:
    async with life(backend, at_once=20, of_a_host=100) as it:
        for _ in range(40):
            await it.runs.trigger()
        await it.called(18)
        await it.rest()
        assert len(it.endpoints.calls) == 18
        await it.bench.project("other")
        now = it.bench.clock.now()
        job = Job("other", "o", "o", None, None, URL, 300, 3, None, None, "[]", 1, now, now, None)
        await it.bench.perform(PutJob(job))
        await it.bench.perform(TriggerJob(actor=DEV, project_id="other", entropy=5, job="o"))
        assert (await it.called(19)).run.project_id == "other"


async def test_a_host_gets_no_more_than_it_may(backend: Backend) -> None:
    async with life(backend, of_a_host=2) as it:
        for _ in range(5):
            await it.runs.trigger()
        await it.called(2)
        await it.rest()
        assert len(it.endpoints.calls) == 2
        it.endpoints.calls[0].answer.set_result(DONE)
        await it.called(3)


async def test_max_concurrency_is_kept_and_each_place_used_again(backend: Backend) -> None:
    async with life(backend, max_concurrency=1) as it:
        made = [await it.runs.trigger() for _ in range(4)]
        for number in range(4):
            call = await it.called(number + 1)
            await it.rest()
            assert len(it.endpoints.calls) == number + 1
            call.answer.set_result(DONE)
        await it.is_now(made[-1], "completed")


async def test_a_job_that_loses_its_endpoint_as_its_run_is_handed_out_gets_the_run_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(backend, max_concurrency=5) as it:
        job = Job(*(await it.bench.rows("jobs_by_id", (PROJECT, "build")))[0])
        perform = it.bench.service.perform

        async def meanwhile(operation: Any) -> Any:
            outcome = await perform(operation)
            if isinstance(operation, ClaimRuns):
                await it.bench.perform(PutJob(job._replace(endpoint_url=None, version=2)))
            return outcome

        monkeypatch.setattr(it.bench.service, "perform", meanwhile)
        run = await it.runs.trigger()
        await it.until(lambda: it.role.in_flight.results["returned"] == 1)
        returned = await it.is_now(run, "queued")
        assert (returned.attempt, returned.dispatch, it.endpoints.calls) == (1, 1, [])
        assert [each.id for each in await it.runs.claim()] == [run.id], "it is for workers now"


async def test_an_outcome_that_cannot_be_written_is_written_later(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(backend) as it:
        run = await it.runs.trigger()
        call = await it.called(1)
        perform, refused = it.bench.service.perform, list[Any]()

        async def full(operation: Any) -> Any:
            if isinstance(operation, FinishDispatch) and len(refused) < 3:
                refused.append(operation)
                raise Unavailable("The queue is full.")
            return await perform(operation)

        monkeypatch.setattr(it.bench.service, "perform", full)
        call.answer.set_result(DONE)
        for _ in range(40):
            it.bench.clock.advance(secs=0.1)
            await settle(10)
        await it.is_now(run, "completed")
        assert len(refused) == 3


async def test_at_a_stop_what_is_under_way_ends_and_the_rest_is_given_back(backend: Backend) -> None:
    async with life(backend) as it:
        ends, hangs = await it.runs.trigger(), await it.runs.trigger()
        await it.called(2)
        draining = asyncio.create_task(it.engine.drain(10))
        await it.rest()
        later = await it.runs.trigger()
        it.endpoints.calls[0].answer.set_result(DONE)
        await it.is_now(ends, "completed")
        assert not draining.done()
        it.bench.clock.advance(secs=10)
        await draining
        returned = await it.runs.get(hangs)
        assert (returned.status, returned.attempt) == ("queued", 1)
        assert it.endpoints.calls[1].broken_off
        assert (await it.runs.get(later)).dispatch == 0


@pytest.mark.parametrize("count", [300])
async def test_many_runs_all_complete(backend: Backend, count: int) -> None:
    async with life(backend, at_once=20, of_a_host=15, max_concurrency=12) as it:
        it.endpoints.at_once = DONE
        for _ in range(count):
            await it.runs.trigger()
        await it.until(lambda: it.role.in_flight.results["completed"] == count)
        assert len({call.run.id for call in it.endpoints.calls}) == len(it.endpoints.calls) == count
