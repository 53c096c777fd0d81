"""What a loaded record leads to: whatever every operation on it may need is loaded with it. Touches only; what
is at hand already is not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from narrows.core.records import CallbackUrl, HeldEvent, StreamToken, Trigger
from narrows.core.run_records import Job, Run, WaitGroup
from narrows.core.states import RunStatus, StepType, TriggerStatus
from narrows.core.workflow_records import Step
from narrows.storage.lookups import Touch


def of(record: Any) -> Iterable[Touch]:
    """Of a record of any kind."""
    leads = _LEADS.get(type(record))
    return () if leads is None else leads(record)


def _of_trigger(trigger: Trigger) -> Iterator[Touch]:
    """Root, run or workflow run, and wait group of a trigger: who goes on when it is settled."""
    if trigger.root_id is not None:
        yield ("roots_by_id", trigger.project_id, trigger.root_id)
        if trigger.status == TriggerStatus.WAITING and trigger.wait_group_id is not None:
            if trigger.job_run_id is not None:
                yield ("runs_by_id", trigger.project_id, trigger.job_run_id)
            yield ("wait_groups_by_id", trigger.project_id, trigger.wait_group_id)
    if trigger.workflow_run_id is not None and trigger.status == TriggerStatus.WAITING:
        yield ("workflow_runs_by_id", trigger.project_id, trigger.workflow_run_id)


def _of_run(run: Run) -> Iterator[Touch]:
    """What a run belongs to, and what it waits for."""
    # Who claims a queued run looks at nothing above it, and has no lock on that.
    if run.workflow_run_id is not None and run.status != RunStatus.QUEUED:
        yield ("roots_by_id", run.project_id, run.workflow_run_id)
    if run.status == RunStatus.WAITING:
        yield ("roots_by_id", run.project_id, run.root_id)
        if run.wait_group_id is not None:
            yield ("wait_groups_by_id", run.project_id, run.wait_group_id)


def _of_step(step: Step) -> Iterator[Touch]:
    """Whoever decides an approval ends its wait."""
    if step.step_type == StepType.APPROVAL and step.wait_group_id is not None:
        yield ("wait_groups_by_id", step.project_id, step.wait_group_id)


def _of_group(group: WaitGroup) -> Iterator[Touch]:
    for trigger_id in trigger_ids(group):
        yield ("triggers_by_id", group.project_id, trigger_id)


def _of_held_event(event: HeldEvent) -> Iterator[Touch]:
    if event.trigger_id is not None:
        yield ("triggers_by_id", event.project_id, event.trigger_id)


def _of_callback_url(url: CallbackUrl) -> Iterator[Touch]:
    yield ("triggers_by_id", url.project_id, url.trigger_id)


def _of_stream_token(token: StreamToken) -> Iterator[Touch]:
    if token.api_key_id is not None:
        yield ("api_keys_by_id", token.api_key_id)


def _of_job(job: Job) -> Iterator[Touch]:
    if job.max_concurrency is not None:
        yield ("run_counters_by_job", job.project_id, job.id)


def trigger_ids(group: WaitGroup) -> list[str]:
    """The triggers of a group, in the order in which they were asked for."""
    return msgspec.json.decode(group.trigger_ids, type=list[str])


_LEADS: Final[dict[type[Any], Callable[[Any], Iterator[Touch]]]] = {
    HeldEvent: _of_held_event,
    CallbackUrl: _of_callback_url,
    StreamToken: _of_stream_token,
    Job: _of_job,
    Trigger: _of_trigger,
    Run: _of_run,
    Step: _of_step,
    WaitGroup: _of_group,
}
