"""Short words for jobs and runs over a bench, for the tests of operations and of the store."""

from __future__ import annotations

from typing import Any

from narrows.core.run_records import Job, Run
from narrows.core.signing_secrets import first_secret
from narrows.operations.base import DEV
from narrows.operations.dispatch import Claim, ClaimRuns
from narrows.operations.jobs import CreateJob, DeleteJob, UpdateJob
from narrows.operations.opening import Wanted
from narrows.operations.reads import GetJob, GetRun
from narrows.operations.run_plane import CompleteRun, FailRun, SleepRun, WaitForEvents
from narrows.operations.runs import CancelRun, ReplayRun, TriggerJob
from tests.storage.kit import PROJECT, Bench

MINUTE_US = 60_000_000


class Runs:
    """What a test does with the runs of one project."""

    def __init__(self, bench: Bench, project_id: str = PROJECT) -> None:
        self.bench = bench
        self.project_id = project_id

    def _common(self) -> dict[str, Any]:
        return {"actor": DEV, "project_id": self.project_id, "entropy": self.bench.entropy()}

    def creating(self, slug: str = "build", **fields: Any) -> CreateJob:
        return CreateJob(**self._common(), slug=slug, signing_secrets=first_secret("secret"), **fields)

    def updating(self, job: str, **changes: Any) -> UpdateJob:
        return UpdateJob(**self._common(), job=job, changes=tuple(changes.items()))

    def deleting(self, job: str, *, cancel_runs: bool = False) -> DeleteJob:
        return DeleteJob(**self._common(), job=job, cancel_runs=cancel_runs)

    def triggering(self, job: str = "build", **fields: Any) -> TriggerJob:
        return TriggerJob(**self._common(), job=job, **fields)

    def canceling(self, run: Run) -> CancelRun:
        return CancelRun(**self._common(), run_id=run.id)

    def replaying(self, run: Run) -> ReplayRun:
        return ReplayRun(**self._common(), run_id=run.id)

    def waiting(self, run: Run, *event_keys: str, timeout_secs: int = 3_600, **fields: Any) -> WaitForEvents:
        events = tuple(Wanted(key, timeout_secs) for key in event_keys)
        return WaitForEvents(**self.of_dispatch(run), events=events, body_hash="wait", **fields)

    def of_dispatch(self, run: Run) -> dict[str, Any]:
        return {
            "project_id": self.project_id,
            "run_id": run.id,
            "dispatch": run.dispatch,
            "entropy": self.bench.entropy(),
        }

    async def create(self, slug: str = "build", **fields: Any) -> Job:
        job: Job = await self.bench.perform(self.creating(slug, **fields))
        return job

    async def trigger(self, job: str = "build", **fields: Any) -> Run:
        run: Run = await self.bench.perform(self.triggering(job, **fields))
        return run

    async def claim(self, job: str = "build", limit: int = 1, lease_us: int = MINUTE_US) -> list[Run]:
        found: Job = await self.bench.store.read(GetJob(self.project_id, job))
        claim = Claim(self.project_id, (found.id,), limit, "worker:test", lease_us, DEV)
        (runs,) = await self.bench.perform(ClaimRuns(claims=(claim,), entropy=self.bench.entropy()))
        return list(runs)

    async def dispatch(self, job: str = "build", **fields: Any) -> Run:
        """A new run that is executing."""
        run = await self.trigger(job, **fields)
        claimed = await self.claim(job, limit=500)
        return next(each for each in claimed if each.id == run.id)

    async def wait(self, run: Run, *event_keys: str, **fields: Any) -> Any:
        return await self.bench.perform(self.waiting(run, *event_keys, **fields))

    async def sleep(self, run: Run, duration_secs: int) -> Any:
        operation = SleepRun(**self.of_dispatch(run), duration_secs=duration_secs, body_hash="sleep")
        return await self.bench.perform(operation)

    async def complete(self, run: Run, result: str | None = None) -> Any:
        operation = CompleteRun(**self.of_dispatch(run), result=result, body_hash="complete")
        return await self.bench.perform(operation)

    async def fail(self, run: Run, error: str = "broken", *, retry: bool = False) -> Any:
        operation = FailRun(**self.of_dispatch(run), error=error, retry=retry, body_hash="fail")
        return await self.bench.perform(operation)

    async def get(self, run: Run) -> Run:
        found: Run = await self.bench.store.read(GetRun(run.project_id, run.id))
        return found
