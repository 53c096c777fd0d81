"""Dispatches that go out in the commit that queues the run: when they may, and that no place and no run is lost
whatever becomes of the commit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.states import FactKind
from narrows.engine.dispatch import DispatchRole
from narrows.errors import Unavailable
from narrows.operations.dispatch import ClaimRuns
from narrows.storage.backend import BackendFailure
from narrows.testing import settle
from tests.engine.dispatch_kit import DONE, Life, life
from tests.storage.fixtures import backend
from tests.storage.kit import PROJECT, Backend

__all__ = ["backend"]


def claims_of(it: Life) -> list[Any]:
    """All claims from now on."""
    perform, found = it.bench.service.perform, []

    async def seen(operation: Any) -> Any:
        if isinstance(operation, ClaimRuns):
            found.append(operation)
        return await perform(operation)

    it.bench.service.perform = seen  # type: ignore[method-assign]
    return found


def failing(it: Life, failure: BackendFailure) -> None:
    """Let the next commit fail when all is written."""
    left = [failure]

    def fail(step: str) -> None:
        if step == "flushed" and left:
            raise left.pop()

    it.bench.store.writer.failpoint = fail


async def test_a_run_is_dispatched_by_the_commit_that_queues_it(backend: Backend) -> None:
    async with life(backend) as it:
        claims = claims_of(it)
        run = await it.runs.trigger()
        assert [fact.kind for fact in it.bench.commits[-1].facts] == [
            FactKind.RUN_CREATED,
            FactKind.RUN_DISPATCHED,
        ]
        call = await it.called(1)
        assert (call.run.id, call.run.holder, call.run.dispatch) == (run.id, "server:now", 1)
        call.answer.set_result(DONE)
        await it.is_now(run, "completed")
        assert claims == []


async def test_without_a_free_place_it_lies_queued_until_there_is_one(backend: Backend) -> None:
    async with life(backend, at_once=2) as it:
        made = await it.bench.together(*(it.runs.triggering() for _ in range(4)))
        assert [run.dispatch for run in it.bench.commits[-1].runs] == [1, 1, 0, 0]
        await it.called(2)
        it.endpoints.at_once = DONE
        for call in it.endpoints.open:
            call.answer.set_result(DONE)
        for run in made:
            await it.is_now(run, "completed")
        assert [call.run.id for call in it.endpoints.calls] == [run.id for run in made]


async def test_a_host_gets_no_more_than_it_may(backend: Backend) -> None:
    async with life(backend, of_a_host=2) as it:
        await it.bench.together(*(it.runs.triggering() for _ in range(3)))
        await it.rest()
        assert len(it.endpoints.calls) == 2
        it.endpoints.calls[0].answer.set_result(DONE)
        await it.called(3)


async def test_where_something_lies_queued_nobody_is_overtaken(backend: Backend) -> None:
    async with life(backend, at_once=1) as it:
        made = [await it.runs.trigger() for _ in range(3)]
        for number in range(1, 6):
            call = await it.called(number)
            if number < 4:
                made.append(await it.runs.trigger())
            call.answer.set_result(DONE)
            await it.is_now(call.run, "completed")
        (await it.called(6)).answer.set_result(DONE)
        await it.is_now(made[5], "completed")
        assert [call.run.id for call in it.endpoints.calls] == [run.id for run in made]


async def test_a_place_that_becomes_free_is_for_what_lies_queued(backend: Backend) -> None:
    """Between the end of a dispatch and the next claim, in which a run may come."""
    async with life(backend) as it:
        key = (PROJECT, "build")
        free = it.role.reserve(key, lambda each: False)
        assert free is not None
        free.release()
        it.role._jobs.queues.put(key, "one.example")
        assert it.role.reserve(key, lambda each: False) is None


async def test_a_job_with_a_limit_is_claimed(backend: Backend) -> None:
    async with life(backend, max_concurrency=5) as it:
        claims = claims_of(it)
        await it.runs.trigger()
        await it.called(1)
        assert len(claims) == 1


@pytest.mark.parametrize("retry", [True, False])
async def test_a_commit_that_fails_keeps_no_place(backend: Backend, retry: bool) -> None:
    async with life(backend, at_once=1) as it:
        failing(it, BackendFailure("the disk is full", retry=retry))
        if retry:
            run = await it.runs.trigger()
        else:
            with pytest.raises(Unavailable):
                await it.runs.trigger()
            run = await it.runs.trigger()
        call = await it.called(1)
        assert (call.run.id, call.run.dispatch) == (run.id, 1)
        call.answer.set_result(DONE)
        again = await it.runs.trigger()
        assert (await it.called(2)).run.id == again.id


async def test_a_server_that_stops_takes_nothing_more(backend: Backend) -> None:
    async with life(backend) as it:
        await it.role.drain(0)
        run = await it.runs.trigger()
        await it.rest()
        assert (await it.runs.get(run)).dispatch == 0


async def test_what_comes_while_the_server_stops_is_given_back(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(backend) as it:
        reserve = DispatchRole.reserve

        def and_stop(role: DispatchRole, *given: Any) -> Any:
            found = reserve(role, *given)
            role._is_draining = True
            return found

        monkeypatch.setattr(DispatchRole, "reserve", and_stop)
        run = await it.runs.trigger()
        released = await it.is_now(run, "queued")
        assert (released.dispatch, released.attempt) == (1, 1)
        assert it.endpoints.calls == []


@pytest.mark.parametrize("url", ["http://two.example/y", None])
async def test_an_endpoint_that_is_changed_in_the_same_commit_counts(
    backend: Backend, url: str | None
) -> None:
    async with life(backend) as it:
        await it.bench.together(it.runs.updating("build", endpoint_url=url), it.runs.triggering())
        await it.rest()
        assert [call.job.endpoint_url for call in it.endpoints.calls] == ([] if url is None else [url])


async def test_a_stop_waits_for_what_is_being_handed_out(backend: Backend) -> None:
    async with life(backend) as it:
        it.bench.gate.shut("flushed")
        triggering = asyncio.create_task(it.runs.trigger())
        await it.bench.gate.reached()
        stopping = asyncio.create_task(it.role.drain(0))
        await settle(5)
        assert not stopping.done()
        it.bench.gate.open()
        run = await triggering
        assert (await it.is_now(run, "queued")).attempt == 1
        await it.until(lambda: len(it.role._places) == 0)
        assert not stopping.done()
        it.bench.clock.advance(secs=0.01)
        await stopping
