"""A dispatching engine on a bench, with endpoints that answer when a test tells them to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from narrows.core.run_records import Job, Run
from narrows.engine.dispatch import DispatchRole
from narrows.engine.loop import Engine
from narrows.engine.runs_due import WakeRunsRole
from narrows.operations.dispatch import DispatchResult
from narrows.operations.reads.luggage import Luggage
from narrows.testing import settle
from tests.storage.kit import Backend, Bench, opened
from tests.storage.runs import Runs

URL = "http://one.example/x"
#: For what must come, on a machine however busy.
PATIENCE_SECS = 30
DONE = DispatchResult(True, "1", None, False, None)


class Call:
    def __init__(self, run: Run, job: Job, luggage: Luggage) -> None:
        self.run, self.job, self.luggage = run, job, luggage
        self.answer: asyncio.Future[DispatchResult] = asyncio.get_running_loop().create_future()
        self.broken_off = False


class FakeEndpoints:
    """Keeps each call until the test answers it; with `at_once` it answers by itself."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.at_once: DispatchResult | None = None

    async def call(self, run: Run, job: Job, luggage: Luggage) -> DispatchResult:
        call = Call(run, job, luggage)
        self.calls.append(call)
        if self.at_once is not None:
            return self.at_once
        try:
            return await call.answer
        except asyncio.CancelledError:
            call.broken_off = True
            raise

    @property
    def open(self) -> list[Call]:
        return [call for call in self.calls if not call.answer.done()]


class Life:
    """A dispatching engine on a bench."""

    def __init__(self, bench: Bench, at_once: int, of_a_host: int) -> None:
        self.bench = bench
        self.runs = Runs(bench)
        self.endpoints = FakeEndpoints()
        self.role = DispatchRole(bench.service, self.endpoints, "server:now", at_once, of_a_host)  # type: ignore[arg-type]
        self.engine = Engine(bench.service, [self.role, WakeRunsRole(bench.service, "server:now")])

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while not condition():
                await asyncio.sleep(0)

    async def called(self, count: int) -> Call:
        await self.until(lambda: len(self.endpoints.calls) >= count)
        return self.endpoints.calls[count - 1]

    async def rest(self) -> None:
        """Some turns, with commits in between."""
        for _ in range(3):
            await self.bench.project(exist_ok=True)
            await settle(20)

    async def is_now(self, run: Run, status: str) -> Run:
        async with asyncio.timeout(PATIENCE_SECS):
            while (found := await self.runs.get(run)).status != status:
                await asyncio.sleep(0)
        return found


@contextlib.asynccontextmanager
async def life(
    backend: Backend, *, at_once: int = 200, of_a_host: int = 50, started: bool = True, **job: Any
) -> AsyncIterator[Life]:
    async with opened(backend) as bench:
        found = Life(bench, at_once, of_a_host)
        if started:
            found.engine.start()
        await found.runs.put(**{"endpoint_url": URL, **job})
        if started:  # it has heard of the job, and found nothing queued
            await found.until(lambda: found.role._loop is not None and not found.role._jobs.may_have_work)
        yield found
        for call in found.endpoints.open:
            call.answer.cancel()
        await found.engine.stop()
