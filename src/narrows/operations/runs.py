"""Starting a run, canceling it, and replaying one that has ended badly."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core import runs as rules
from narrows.core.run_records import Run
from narrows.core.states import REPLAYABLE, FactKind
from narrows.errors import Conflict
from narrows.operations.base import ProjectOperation, check_project
from narrows.operations.waits import cancel_run, find_job, find_run, job_touches, keep_text, run_touches
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerJob(ProjectOperation):
    """Start a run of `job` (slug or id). `payload` and `tags` are JSON texts, `scheduled_at` microseconds:
    until then it is delayed. Raises NotFound."""

    job: str
    payload: str | None = None
    priority: int = 0
    scheduled_at: int | None = None
    tags: str | None = None

    @property
    def size_bytes(self) -> int:
        return 0 if self.payload is None else len(self.payload)

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            ("projects_by_id", self.project_id),
            *job_touches(self.project_id, self.job),
        ]

    def apply(self, tx: Transaction) -> Run:
        self.authorize(tx)
        check_project(tx, self.project_id)
        job = find_job(tx, self.project_id, self.job)
        run = rules.new_run(
            job,
            run_id=tx.new_id(self.entropy),
            priority=self.priority,
            tags=self.tags,
            scheduled_at=self.scheduled_at,
            now=tx.now,
            wall=tx.wall,
            created_by=self.actor.label,
        )
        payload_id = keep_text(tx, self.project_id, self.payload, self.entropy)
        run = run._replace(payload=self.payload, payload_id=payload_id)
        return tx.advance_run(run, FactKind.RUN_CREATED, self.actor.label, self.entropy)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRun(ProjectOperation):
    """End a live run and whatever it waits for. Raises NotFound, or Conflict if it has ended."""

    run_id: str
    reason: str = rules.CANCELED_BY_USER

    def touches(self) -> list[Touch]:
        return [*self.credential(), *run_touches(self.project_id, self.run_id)]

    def apply(self, tx: Transaction) -> Run:
        self.authorize(tx)
        run = find_run(tx, self.project_id, self.run_id)
        if rules.has_ended(run):
            raise Conflict(f"The run {run.id} is already {run.status}; there is nothing to cancel.")
        return cancel_run(tx, run, self.reason, self.actor.label, self.entropy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRun(ProjectOperation):
    """Start a new run that goes on where an ended one stopped: its payload, what it kept, and how its last
    wait ended.

    Raises NotFound, Conflict if it goes on still, was completed, or its job is deleted.
    """

    run_id: str

    def touches(self) -> list[Touch]:
        # The job by the run: one that ends in this very commit is replayed like any other.
        by_run = [(lookup, self.project_id, self.run_id) for lookup in ("runs_by_id", "jobs_by_run")]
        return [*self.credential(), *by_run]

    def apply(self, tx: Transaction) -> Run:
        self.authorize(tx)
        ended = find_run(tx, self.project_id, self.run_id)
        if ended.status not in REPLAYABLE:
            raise Conflict(
                f"The run {ended.id} is {ended.status}. Only a run that has failed, timed out, was canceled "
                "or lies in the dead letter can be replayed."
            )
        job = tx.job(ended.project_id, ended.job_id)
        if job is None or job.deleted_at is not None:
            raise Conflict(
                f"The job of the run {ended.id} was deleted; trigger another job with its payload."
            )
        run = rules.replay(ended, tx.new_id(self.entropy), tx.now, self.actor.label)
        for payload_id in (run.payload_id, run.state_id):
            tx.share_payload(run.project_id, payload_id)
        return tx.advance_run(run, FactKind.RUN_CREATED, self.actor.label, self.entropy)
