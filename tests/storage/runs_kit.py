"""Runs on a bench: short words for their operations, for whatever test needs a run in some state."""

from __future__ import annotations

from typing import Any

from narrows.core.run_records import Job, Run
from narrows.core.runs import SERVER_LEASE_US, WORKER_LEASE_US
from narrows.operations.base import DEV
from narrows.operations.dispatch import Claim, ClaimRuns, DispatchResult, FinishDispatch, WakeRuns
from narrows.operations.opening import Wanted
from narrows.operations.run_plane import WaitForEvents
from narrows.operations.runs import TriggerJob
from narrows.storage.transaction import Transaction
from tests.storage.kit import PROJECT, Bench

SECOND = 1_000_000


class PutJob:
    """Saves a job as it is."""

    background = False
    size_bytes = 0

    def __init__(self, job: Job) -> None:
        self.job = job

    def touches(self) -> list[Any]:
        return [("jobs_by_id", self.job.project_id, self.job.id)]

    def apply(self, tx: Transaction) -> None:
        tx.save(self.job)


class Runs:
    """Short words for the operations of runs on a bench."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def common(self, run: Run) -> dict[str, Any]:
        return {
            "project_id": run.project_id,
            "run_id": run.id,
            "dispatch": run.dispatch,
            "entropy": self.bench.entropy(),
        }

    async def job(self, slug: str = "j", **changes: Any) -> Job:
        now = self.bench.clock.now()
        job = Job(PROJECT, slug, slug, None, None, None, 300, 3, None, None, "[]", 1, now, now, None)
        job = job._replace(**changes)
        await self.bench.perform(PutJob(job))
        return job

    async def trigger(self, slug: str = "j", **fields: Any) -> Run:
        operation = TriggerJob(
            actor=DEV, project_id=PROJECT, entropy=self.bench.entropy(), job=slug, **fields
        )
        run: Run = await self.bench.service.perform(operation)
        return run

    def claiming(self, *slugs: str, limit: int = 1, holder: str = "worker:w") -> ClaimRuns:
        lease_us = WORKER_LEASE_US if holder.startswith("worker") else SERVER_LEASE_US
        claim = Claim(PROJECT, slugs or ("j",), limit, holder, lease_us, DEV)
        return ClaimRuns(claims=(claim,), entropy=self.bench.entropy())

    async def claim(self, *slugs: str, limit: int = 1, holder: str = "worker:w") -> tuple[Run, ...]:
        (runs,) = await self.bench.perform(self.claiming(*slugs, limit=limit, holder=holder))
        return tuple(runs)

    async def started(self, slug: str = "j", holder: str = "worker:w", **fields: Any) -> Run:
        """A run that has just been handed out."""
        await self.trigger(slug, **fields)
        (run,) = await self.claim(slug, holder=holder)
        return run

    def waiting(self, run: Run, *keys: str, body_hash: str = "h", **fields: Any) -> WaitForEvents:
        timeout_secs = fields.pop("timeout_secs", 60)
        wanted = tuple(Wanted(key, timeout_secs) for key in keys)
        return WaitForEvents(**self.common(run), events=wanted, body_hash=body_hash, **fields)

    async def wait(self, run: Run, *keys: str, **fields: Any) -> Any:
        return await self.bench.service.perform(self.waiting(run, *keys, **fields))

    async def get(self, run: Run) -> Run:
        ((*row,),) = await self.bench.rows("runs_by_id", (run.project_id, run.id))
        return Run(*row)

    async def finish(self, run: Run, **fields: Any) -> Run | None:
        result = DispatchResult(**fields)
        found: Run | None = await self.bench.perform(FinishDispatch(**self.common(run), result=result))
        return found

    async def wake(self, *runs: Run) -> int:
        keys = tuple((run.project_id, run.id) for run in runs)
        woken: int = await self.bench.perform(WakeRuns(ids=keys, entropy=self.bench.entropy()))
        return woken
