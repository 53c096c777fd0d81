"""Claimers on a bench: they start, park, are given something or go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from narrows.core.run_records import Job, Run, RunCounters
from narrows.core.runs import WORKER_LEASE_US
from narrows.operations.access import CreateApiKey
from narrows.operations.base import DEV, HOST, Actor
from narrows.operations.claiming import Claims
from narrows.operations.dispatch import Claim, ClaimRuns
from narrows.operations.runs import TriggerJob
from narrows.storage.backend import BackendFailure
from narrows.testing import settle
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.runs import Runs

#: A `max_concurrency` that is never reached: whoever waits for such a job has to look for its runs.
MANY = 1_000


class Workers:
    """Claimers on a bench; `looks` has the number of claims of each look."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.runs = Runs(bench)
        self.claims: Claims = bench.service.claims
        self.looks: list[int] = []
        perform = bench.service.perform

        async def seen(operation: Any) -> Any:
            if isinstance(operation, ClaimRuns):
                self.looks.append(len(operation.claims))
            return await perform(operation)

        bench.service.perform = seen  # type: ignore[method-assign]

    def start(
        self, *jobs: str, limit: int = 1, wait_secs: float = 60, actor: Actor = DEV
    ) -> asyncio.Task[Any]:
        claim = Claim(PROJECT, jobs or ("build",), limit, "worker:w", WORKER_LEASE_US, actor)
        return asyncio.create_task(self.claims.claim(claim, wait_secs))

    def triggering(self, slug: str, **fields: Any) -> TriggerJob:
        return TriggerJob(actor=DEV, project_id=PROJECT, entropy=self.bench.entropy(), job=slug, **fields)

    async def parked(self, *jobs: str, **fields: Any) -> asyncio.Task[Any]:
        before = self.claims.waiting
        task = self.start(*jobs, **fields)
        while self.claims.waiting == before:
            await asyncio.sleep(0)
        return task

    async def can_be_claimed(self, slug: str) -> bool:
        """Whether the job has queued runs and room for one."""
        queued = await self.bench.rows("queued_runs_by_job", (PROJECT, slug, "1"))
        ((*job,),) = await self.bench.rows("jobs_by_id", (PROJECT, slug))
        counters = await self.bench.rows("run_counters_by_job", (PROJECT, slug))
        limit = Job(*job).max_concurrency
        executing = sum(RunCounters(*row).executing for row in counters)
        return bool(queued) and (limit is None or executing < limit)

    async def quiet(self) -> None:
        """Until nobody looks any more."""
        await settle(3)
        while self.claims._look is not None or self.claims._releases:
            await asyncio.sleep(0)
        await settle(3)


@contextlib.asynccontextmanager
async def working(backend: Backend) -> AsyncIterator[Workers]:
    async with opened(backend) as bench:
        yield Workers(bench)


def ids(*tasks: asyncio.Task[tuple[Run, ...]]) -> list[str]:
    return [run.id for task in tasks for run in task.result()]


def kinds(bench: Bench) -> list[str]:
    """Of the newest commit."""
    return [fact.kind for fact in bench.commits[-1].facts]


def once() -> Callable[[], bool]:
    left = [True]
    return lambda: bool(left) and left.pop()


def failing(workers: Workers, failure: BackendFailure, fails: Callable[[], bool] | None = None) -> None:
    """Let a commit fail when all is written, if `fails` says so; the next one, if nothing is said."""
    fails, before = fails or once(), workers.bench.store.writer.failpoint

    def fail(step: str) -> Any:
        if step == "flushed" and fails():
            raise failure
        return before(step)

    workers.bench.store.writer.failpoint = fail


def ids_of(runs: Any) -> list[str]:
    return [run.id for run in runs]


async def nobody_looked(workers: Workers) -> None:
    await workers.quiet()
    assert workers.looks == []


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


@contextlib.asynccontextmanager
async def handing_out(workers: Workers) -> AsyncIterator[asyncio.Task[Run]]:
    """A run is being queued, and handed out: what the block does comes before the commit."""
    workers.bench.gate.shut("applied")
    triggering = asyncio.create_task(workers.runs.trigger())
    try:
        await workers.bench.gate.reached()
        yield triggering
    finally:
        workers.bench.gate.open()
        await asyncio.wait([triggering])
