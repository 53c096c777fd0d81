"""Short words for jobs and runs over a bench, for whatever test needs a run in some state."""

from __future__ import annotations

from typing import Any

from narrows.core.run_records import Job, Run
from narrows.core.runs import SERVER_LEASE_US, WORKER_LEASE_US
from narrows.core.signing_secrets import first_secret
from narrows.operations.base import DEV
from narrows.operations.dispatch import Claim, ClaimRuns, DispatchResult, FinishDispatch, WakeRuns
from narrows.operations.jobs import CreateJob, DeleteJob, UpdateJob
from narrows.operations.opening import Wanted
from narrows.operations.reads import GetJob, GetRun
from narrows.operations.run_plane import CompleteRun, FailRun, SleepRun, WaitForEvents
from narrows.operations.runs import CancelRun, ReplayRun, TriggerJob
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
    """What a test does with the jobs and runs of one project."""

    def __init__(self, bench: Bench, project_id: str = PROJECT) -> None:
        self.bench = bench
        self.project_id = project_id

    def _common(self) -> dict[str, Any]:
        return {"actor": DEV, "project_id": self.project_id, "entropy": self.bench.entropy()}

    def of_dispatch(self, run: Run) -> dict[str, Any]:
        """What every operation of a dispatch begins with."""
        return {
            "project_id": run.project_id,
            "run_id": run.id,
            "dispatch": run.dispatch,
            "entropy": self.bench.entropy(),
        }

    # ---- operations, as values -------------------------------------------------------------

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

    def claiming(self, *job_ids: str, limit: int = 1, holder: str = "worker:w") -> ClaimRuns:
        lease_us = WORKER_LEASE_US if holder.startswith("worker") else SERVER_LEASE_US
        claim = Claim(self.project_id, job_ids or ("build",), limit, holder, lease_us, DEV)
        return ClaimRuns(claims=(claim,), entropy=self.bench.entropy())

    def waiting(
        self, run: Run, *event_keys: str, timeout_secs: int = 60, body_hash: str = "wait", **fields: Any
    ) -> WaitForEvents:
        events = tuple(Wanted(key, timeout_secs) for key in event_keys)
        return WaitForEvents(**self.of_dispatch(run), events=events, body_hash=body_hash, **fields)

    # ---- operations, performed -------------------------------------------------------------

    async def create(self, slug: str = "build", **fields: Any) -> Job:
        job: Job = await self.bench.perform(self.creating(slug, **fields))
        return job

    async def put(self, slug: str = "build", **changes: Any) -> Job:
        """A job whose id is its slug, so that a test knows it."""
        now = self.bench.clock.now()
        job = Job(self.project_id, slug, slug, None, None, None, 300, 3, None, None, "[]", 1, now, now, None)
        job = job._replace(**changes)
        await self.bench.perform(PutJob(job))
        return job

    async def trigger(self, job: str = "build", **fields: Any) -> Run:
        run: Run = await self.bench.service.perform(self.triggering(job, **fields))
        return run

    async def claim(self, *jobs: str, limit: int = 1, holder: str = "worker:w") -> tuple[Run, ...]:
        found = [await self.bench.store.read(GetJob(self.project_id, job)) for job in jobs or ("build",)]
        claiming = self.claiming(*(job.id for job in found), limit=limit, holder=holder)
        (runs,) = await self.bench.perform(claiming)
        return tuple(runs)

    async def dispatch(self, job: str = "build", *, holder: str = "worker:w", **fields: Any) -> Run:
        """A new run that is executing; no other may be queued."""
        made = await self.trigger(job, **fields)
        (run,) = await self.claim(job, holder=holder)
        assert run.id == made.id
        return run

    async def wait(self, run: Run, *event_keys: str, **fields: Any) -> Any:
        return await self.bench.service.perform(self.waiting(run, *event_keys, **fields))

    async def sleep(self, run: Run, duration_secs: int) -> Any:
        operation = SleepRun(**self.of_dispatch(run), duration_secs=duration_secs, body_hash="sleep")
        return await self.bench.perform(operation)

    async def complete(self, run: Run, result: str | None = None) -> Any:
        operation = CompleteRun(**self.of_dispatch(run), result=result, body_hash="complete")
        return await self.bench.perform(operation)

    async def fail(self, run: Run, error: str = "broken", *, retry: bool = False) -> Any:
        operation = FailRun(**self.of_dispatch(run), error=error, retry=retry, body_hash="fail")
        return await self.bench.perform(operation)

    async def finish(self, run: Run, **fields: Any) -> Run | None:
        """What the server makes of an endpoint's answer."""
        operation = FinishDispatch(**self.of_dispatch(run), result=DispatchResult(**fields))
        found: Run | None = await self.bench.perform(operation)
        return found

    async def wake(self, *runs: Run) -> int:
        keys = tuple((run.project_id, run.id) for run in runs)
        woken: int = await self.bench.perform(WakeRuns(ids=keys, entropy=self.bench.entropy()))
        return woken

    async def get(self, run: Run) -> Run:
        found: Run = await self.bench.store.read(GetRun(run.project_id, run.id))
        return found
