"""What runs share in every change: finding them, ending them together with what they wait for, and
keeping their texts."""

from __future__ import annotations

from collections.abc import Iterable

from narrows.core import runs as rules
from narrows.core import triggers as trigger_rules
from narrows.core.payloads import INLINE_PAYLOAD_BYTES
from narrows.core.run_records import Job, Run
from narrows.core.states import FactKind, RunStatus
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_steps import JobWork
from narrows.errors import NotFound
from narrows.storage.following import close, group_triggers
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


def run_touches(project_id: str, run_id: str) -> list[Touch]:
    """A run that may end: its root ends with it."""
    return [("runs_by_id", project_id, run_id), ("roots_by_id", project_id, run_id)]


def job_touches(project_id: str, job: str) -> list[Touch]:
    """A job by its id or its slug."""
    return [("jobs_by_id", project_id, job), ("jobs_by_slug", project_id, job)]


def touches_of_jobs(project_id: str, definition: Definition, steps: Iterable[int]) -> list[Touch]:
    """The jobs of those of a workflow's steps that run one."""
    works = (definition.steps[step].work for step in steps)
    named = dict.fromkeys(work.job_slug or work.job_id or "" for work in works if isinstance(work, JobWork))
    return [touch for job in named for touch in job_touches(project_id, job)]


def changed_job_touches(project_id: str, job: str) -> list[Touch]:
    """The same for whoever changes it: nobody starts a run of it meanwhile."""
    return [("jobs_to_change", project_id, job), ("jobs_to_change_by_slug", project_id, job)]


def find_run(tx: Transaction, project_id: str, run_id: str) -> Run:
    """Raises NotFound."""
    run = tx.run(project_id, run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}. List the runs with GET /v1/runs.")
    return run


def find_job(tx: Transaction, project_id: str, job: str) -> Job:
    """By its slug, else by its id. Raises NotFound, also for a deleted one."""
    found = tx.job_by_slug(project_id, job) or tx.job(project_id, job)
    if found is None or found.deleted_at is not None:
        raise NotFound(f"There is no job {job!r}. List the jobs with GET /v1/jobs, or create it.")
    return found


def keep_text(tx: Transaction, project_id: str, text: str | None, entropy: int) -> str | None:
    """The id of the payload row that a text needs, None where it fits into its record's own row."""
    if text is None or len(text) <= INLINE_PAYLOAD_BYTES:
        return None
    return tx.save_payload(project_id, text, entropy)


def cancel_run(tx: Transaction, run: Run, reason: str, actor: str, entropy: int) -> Run:
    """End a live run; in the same commit whatever it waits for is closed. Its wait group and the triggers
    of a waiting run come with it when it is loaded."""
    group = None
    if run.status == RunStatus.WAITING and run.wait_group_id is not None:
        group = tx.wait_group(run.project_id, run.wait_group_id)
    canceled = tx.advance_run(rules.cancel(run, reason, tx.now), FactKind.RUN_CANCELED, actor, entropy)
    if group is not None:
        waiting = [each for each in group_triggers(tx, group) if trigger_rules.is_waiting(each)]
        close(tx, waiting, rules.RUN_ENDED, actor, entropy)
    return canceled
