"""The life of a run: each function takes a record and answers the changed record, and where there is
a choice the fact that says which way it went.

Pure, like `triggers.py`. Whether a caller may ask for a change (his token, his dispatch) is the
operations' affair.
"""

from __future__ import annotations

from typing import Final

from narrows.core.retries import pause_us
from narrows.core.run_records import Job, Run
from narrows.core.states import ENDED, FactKind, RunStatus, next_run_status

#: The lease of a worker, which renews it by its heartbeats, and of the server's own dispatches.
WORKER_LEASE_US: Final = 60_000_000
SERVER_LEASE_US: Final = 15_000_000

CANCELED_BY_USER: Final = "canceled by user"
JOB_DELETED: Final = "its job was deleted"
RUN_ENDED: Final = "its run has ended"
LEASE_LOST: Final = "its lease was lost: who executed it did not renew it in time"
OVER_TIME: Final = "the dispatch took longer than {} s"


def new_run(
    job: Job,
    *,
    run_id: str,
    priority: int,
    tags: str | None,
    scheduled_at: int | None,
    now: int,
    wall: int,
    created_by: str,
) -> Run:
    """A run of the job: queued, or delayed until `scheduled_at` where that is still to come."""
    is_delayed = scheduled_at is not None and scheduled_at > wall
    return Run(
        project_id=job.project_id,
        id=run_id,
        job_id=job.id,
        version=1,
        status=RunStatus.DELAYED if is_delayed else RunStatus.QUEUED,
        priority=priority,
        attempt=1,
        dispatch=0,
        timeout_secs=job.timeout_secs,
        max_attempts=job.max_attempts,
        root_id=run_id,
        workflow_run_id=None,
        workflow_step_run_id=None,
        payload=None,
        payload_id=None,
        result=None,
        result_id=None,
        state=None,
        state_id=None,
        error=None,
        tags=tags,
        progress=None,
        holder=None,
        wait_group_id=None,
        replay_of=None,
        created_by=created_by,
        created_at=now,
        scheduled_at=scheduled_at,
        due_at=scheduled_at if is_delayed else None,
        dispatched_at=None,
        finished_at=None,
        last_fact_id=None,
    )


def has_ended(run: Run) -> bool:
    return run.status in ENDED


def is_executing(run: Run) -> bool:
    return run.status == RunStatus.EXECUTING


def _moved(run: Run, kind: FactKind) -> Run:
    """The run in the state that `kind` leads to; what belongs to the old state alone is cleared."""
    status = next_run_status(run.status, kind)
    return run._replace(
        status=status,
        version=run.version + 1,
        due_at=None,
        holder=run.holder if status == RunStatus.EXECUTING else None,
    )


def queue_when_due(run: Run) -> Run:
    return _moved(run, FactKind.RUN_DUE)


def dispatch(run: Run, holder: str, lease_us: int, now: int) -> Run:
    """Hand it out: a new dispatch number fences out whatever an earlier one still does."""
    moved = _moved(run, FactKind.RUN_DISPATCHED)._replace(
        dispatch=run.dispatch + 1, holder=holder, dispatched_at=now, error=None
    )
    return moved._replace(due_at=lease_until(moved, lease_us, now))


def deadline(run: Run) -> int:
    """When the present dispatch has had its `timeout_secs`."""
    return (run.dispatched_at or 0) + run.timeout_secs * 1_000_000


def lease_until(run: Run, lease_us: int, now: int) -> int:
    """A lease from now; never beyond the dispatch's deadline."""
    return min(now + lease_us, deadline(run))


def renew(run: Run, lease_us: int, now: int) -> Run:
    """A longer lease; never a shorter one. No change that anybody needs to be told of."""
    return run._replace(due_at=max(run.due_at or 0, lease_until(run, lease_us, now)))


def release(run: Run) -> Run:
    """Given back unfinished: queued again, and no attempt is counted."""
    return _moved(run, FactKind.RUN_RELEASED)


def complete(run: Run, result: str | None, result_id: str | None, now: int) -> Run:
    return _moved(run, FactKind.RUN_COMPLETED)._replace(
        result=result, result_id=result_id, finished_at=now, error=None
    )


def fail(
    run: Run, error: str, *, retry: bool, retry_after_secs: int | None, entropy: int, now: int
) -> tuple[Run, FactKind]:
    """A failed attempt: tried again after a pause, else dead-lettered; without `retry` it has failed."""
    if not retry:
        kind = FactKind.RUN_FAILED
    elif run.attempt >= run.max_attempts:
        kind = FactKind.RUN_DEAD_LETTERED
    else:
        due_at = now + pause_us(run.attempt, entropy, retry_after_secs)
        moved = _moved(run, FactKind.RUN_RETRIED)
        return moved._replace(attempt=run.attempt + 1, due_at=due_at, error=error), FactKind.RUN_RETRIED
    return _moved(run, kind)._replace(error=error, finished_at=now), kind


def lose_lease(run: Run, now: int, wall: int, entropy: int) -> tuple[Run, FactKind]:
    """Nobody renewed its lease: that is an attempt. One that used up its time has failed like any
    other; else it is queued again at once."""
    if wall >= deadline(run):
        error = OVER_TIME.format(run.timeout_secs)
        return fail(run, error, retry=True, retry_after_secs=None, entropy=entropy, now=now)
    if run.attempt >= run.max_attempts:
        kind = FactKind.RUN_DEAD_LETTERED
        return _moved(run, kind)._replace(error=LEASE_LOST, finished_at=now), kind
    kind = FactKind.RUN_LEASE_LOST
    return _moved(run, kind)._replace(attempt=run.attempt + 1, error=LEASE_LOST), kind


def wait(run: Run, wait_group_id: str) -> Run:
    """Set down: nothing of it is left but rows, until its wait ends."""
    return _moved(run, FactKind.RUN_WAITING)._replace(wait_group_id=wait_group_id, error=None)


def resume(run: Run) -> Run:
    """Its wait is over: queued again. Failures count anew, since what comes is another piece of work."""
    return _moved(run, FactKind.RUN_RESUMED)._replace(attempt=1)


def time_out(run: Run, error: str, now: int) -> Run:
    return _moved(run, FactKind.RUN_TIMED_OUT)._replace(error=error, finished_at=now)


def cancel(run: Run, reason: str, now: int) -> Run:
    return _moved(run, FactKind.RUN_CANCELED)._replace(error=reason, finished_at=now)


def replay(run: Run, run_id: str, now: int, created_by: str) -> Run:
    """A new run that goes on where an ended one stopped: with its payload, what it kept, and how its
    last wait ended."""
    return run._replace(
        id=run_id,
        version=1,
        status=RunStatus.QUEUED,
        attempt=1,
        dispatch=0,
        root_id=run_id,
        workflow_run_id=None,
        workflow_step_run_id=None,
        result=None,
        result_id=None,
        error=None,
        progress=None,
        holder=None,
        replay_of=run.id,
        created_by=created_by,
        created_at=now,
        scheduled_at=None,
        due_at=None,
        dispatched_at=None,
        finished_at=None,
        last_fact_id=None,
    )
