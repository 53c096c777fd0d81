"""Every status, every transition and every fact kind, as tables. Nothing else spells a status.

The diagrams in `docs/reference/states.md` are generated from the tables (`diagrams.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from narrows.errors import InvariantViolated

S = TypeVar("S", bound=StrEnum)


class TriggerStatus(StrEnum):
    WAITING = "waiting"
    RECEIVED = "received"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"


class TriggerType(StrEnum):
    EVENT = "event"
    SLEEP = "sleep"
    APPROVAL = "approval"


class SourceType(StrEnum):
    WORKFLOW_STEP = "workflow_step"
    JOB_RUN = "job_run"


class HeldStatus(StrEnum):
    HELD = "held"
    DELIVERED = "delivered"


class RunStatus(StrEnum):
    DELAYED = "delayed"
    QUEUED = "queued"
    EXECUTING = "executing"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    DEAD_LETTER = "dead_letter"


class GroupMode(StrEnum):
    """How many triggers of a wait group must be received before its waiter goes on."""

    ANY = "any"
    ALL = "all"
    COUNT = "count"


class OnEnd(StrEnum):
    """What a waiter does when its wait ends without the event: end itself, or go on."""

    END = "end"
    RESUME = "resume"


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryKind(StrEnum):
    TRIGGER_OPENED = "trigger.opened"
    TRIGGER_SETTLED = "trigger.settled"


class StepType(StrEnum):
    """What a step of a workflow does."""

    JOB = "job"
    WAIT_FOR_EVENT = "wait_for_event"
    SLEEP = "sleep"
    APPROVAL = "approval"
    SUB_WORKFLOW = "sub_workflow"
    WAIT_FOR_ANY = "wait_for_any"
    WAIT_FOR_ALL = "wait_for_all"


class OnFailure(StrEnum):
    """What the end of a step that ended badly means for its workflow run."""

    FAIL_WORKFLOW = "fail_workflow"
    SKIP_DEPENDENTS = "skip_dependents"
    CONTINUE = "continue"


class Backoff(StrEnum):
    """How the pauses between the attempts of a step grow."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"


class WorkflowRunStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"  # what goes on goes on, nothing new starts
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"


class StepStatus(StrEnum):
    """A step that is parked (`waiting`) is not one whose turn has not come (`pending`): only the latter
    can be started."""

    PENDING = "pending"  # not all of its dependencies have ended
    QUEUED = "queued"  # its turn has come: it waits for a place, or for its workflow run to be resumed
    RUNNING = "running"  # its run or its sub-workflow goes on
    WAITING = "waiting"  # parked: nothing of it is left but open triggers
    DELAYED = "delayed"  # between two attempts
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    CANCELED = "canceled"


class MessageKind(StrEnum):
    """Durable messages between roots, consumed exactly once."""

    CANCEL_RUNS_OF_JOB = "cancel_runs_of_job"
    START_WORKFLOW_RUN = "start_workflow_run"  # its id is that of the run that it starts
    WORKFLOW_RUN_ENDED = "workflow_run_ended"
    CANCEL_WORKFLOW_RUN = "cancel_workflow_run"
    EMIT_EVENT = "emit_event"


class RunCall(StrEnum):
    """The calls of the run plane that end a dispatch; each keeps its first answer."""

    WAIT = "wait"
    SLEEP = "sleep"
    COMPLETE = "complete"
    FAIL = "fail"
    RELEASE = "release"


class FactKind(StrEnum):
    TRIGGER_OPENED = "trigger.opened"
    TRIGGER_EXTENDED = "trigger.extended"
    TRIGGER_RECEIVED = "trigger.received"
    TRIGGER_TIMED_OUT = "trigger.timed_out"
    TRIGGER_CANCELED = "trigger.canceled"
    CALLBACK_URL_CREATED = "callback_url.created"
    EVENT_HELD = "event.held"
    EVENT_DELIVERED = "event.delivered"
    EVENT_EXPIRED = "event.expired"
    EVENT_DISCARDED = "event.discarded"
    TRIGGERS_PURGED = "triggers.purged"
    PROJECT_CREATED = "project.created"
    API_KEY_CREATED = "api_key.created"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_REVOKED = "api_key.revoked"
    PROJECT_SECRET_ROTATED = "project.secret_rotated"
    JOB_CREATED = "job.created"
    JOB_UPDATED = "job.updated"
    JOB_DELETED = "job.deleted"
    JOB_SECRET_ROTATED = "job.secret_rotated"
    RUNS_PURGED = "runs.purged"
    RUN_CREATED = "run.created"
    RUN_DUE = "run.due"
    RUN_DISPATCHED = "run.dispatched"
    RUN_RELEASED = "run.released"
    RUN_LEASE_LOST = "run.lease_lost"
    RUN_RETRIED = "run.retried"
    RUN_WAITING = "run.waiting"
    RUN_RESUMED = "run.resumed"
    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_TIMED_OUT = "run.timed_out"
    RUN_CANCELED = "run.canceled"
    RUN_DEAD_LETTERED = "run.dead_lettered"
    RUN_CHECKPOINTED = "run.checkpointed"
    RUN_LOGGED = "run.logged"
    RUN_PROGRESSED = "run.progressed"
    WORKFLOW_CREATED = "workflow.created"
    WORKFLOW_UPDATED = "workflow.updated"
    WORKFLOW_DELETED = "workflow.deleted"
    WORKFLOW_RUNS_PURGED = "workflow_runs.purged"
    WORKFLOW_RUN_CREATED = "workflow_run.created"
    WORKFLOW_RUN_PAUSED = "workflow_run.paused"
    WORKFLOW_RUN_RESUMED = "workflow_run.resumed"
    WORKFLOW_RUN_COMPLETED = "workflow_run.completed"
    WORKFLOW_RUN_FAILED = "workflow_run.failed"
    WORKFLOW_RUN_TIMED_OUT = "workflow_run.timed_out"
    WORKFLOW_RUN_CANCELED = "workflow_run.canceled"
    STEP_QUEUED = "step.queued"
    STEP_STARTED = "step.started"
    STEP_WAITING = "step.waiting"
    STEP_VOTED = "step.voted"
    STEP_RETRIED = "step.retried"
    STEP_DUE = "step.due"
    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    STEP_TIMED_OUT = "step.timed_out"
    STEP_SKIPPED = "step.skipped"
    STEP_CANCELED = "step.canceled"
    STEP_REOPENED = "step.reopened"
    DELIVERY_MADE = "delivery.made"
    DELIVERY_FAILED = "delivery.failed"
    DELIVERY_RETRIED = "delivery.retried"


#: (status, what happened) -> status. What is not in the table is refused.
TRANSITIONS: Final[dict[tuple[TriggerStatus, FactKind], TriggerStatus]] = {
    (TriggerStatus.WAITING, FactKind.TRIGGER_EXTENDED): TriggerStatus.WAITING,
    (TriggerStatus.WAITING, FactKind.TRIGGER_RECEIVED): TriggerStatus.RECEIVED,
    (TriggerStatus.WAITING, FactKind.TRIGGER_TIMED_OUT): TriggerStatus.TIMED_OUT,
    (TriggerStatus.WAITING, FactKind.TRIGGER_CANCELED): TriggerStatus.CANCELED,
}

#: The same for runs. A lost lease or a failure leads on to another attempt (`queued` at once,
#: `delayed` for a pause) or to the dead letter; the rules in `runs.py` choose the kind.
RUN_TRANSITIONS: Final[dict[tuple[RunStatus, FactKind], RunStatus]] = {
    (RunStatus.DELAYED, FactKind.RUN_DUE): RunStatus.QUEUED,
    (RunStatus.QUEUED, FactKind.RUN_DISPATCHED): RunStatus.EXECUTING,
    (RunStatus.EXECUTING, FactKind.RUN_RELEASED): RunStatus.QUEUED,
    (RunStatus.EXECUTING, FactKind.RUN_LEASE_LOST): RunStatus.QUEUED,
    (RunStatus.EXECUTING, FactKind.RUN_RETRIED): RunStatus.DELAYED,
    (RunStatus.EXECUTING, FactKind.RUN_DEAD_LETTERED): RunStatus.DEAD_LETTER,
    (RunStatus.EXECUTING, FactKind.RUN_FAILED): RunStatus.FAILED,
    (RunStatus.EXECUTING, FactKind.RUN_COMPLETED): RunStatus.COMPLETED,
    (RunStatus.EXECUTING, FactKind.RUN_WAITING): RunStatus.WAITING,
    (RunStatus.WAITING, FactKind.RUN_RESUMED): RunStatus.QUEUED,
    (RunStatus.WAITING, FactKind.RUN_TIMED_OUT): RunStatus.TIMED_OUT,
    (RunStatus.DELAYED, FactKind.RUN_CANCELED): RunStatus.CANCELED,
    (RunStatus.QUEUED, FactKind.RUN_CANCELED): RunStatus.CANCELED,
    (RunStatus.EXECUTING, FactKind.RUN_CANCELED): RunStatus.CANCELED,
    (RunStatus.WAITING, FactKind.RUN_CANCELED): RunStatus.CANCELED,
}

#: The same for workflow runs.
WORKFLOW_RUN_TRANSITIONS: Final[dict[tuple[WorkflowRunStatus, FactKind], WorkflowRunStatus]] = {
    (WorkflowRunStatus.RUNNING, FactKind.WORKFLOW_RUN_PAUSED): WorkflowRunStatus.PAUSED,
    (WorkflowRunStatus.PAUSED, FactKind.WORKFLOW_RUN_RESUMED): WorkflowRunStatus.RUNNING,
    **{
        (before, kind): after
        for before in (WorkflowRunStatus.RUNNING, WorkflowRunStatus.PAUSED)
        for kind, after in (
            (FactKind.WORKFLOW_RUN_COMPLETED, WorkflowRunStatus.COMPLETED),
            (FactKind.WORKFLOW_RUN_FAILED, WorkflowRunStatus.FAILED),
            (FactKind.WORKFLOW_RUN_TIMED_OUT, WorkflowRunStatus.TIMED_OUT),
            (FactKind.WORKFLOW_RUN_CANCELED, WorkflowRunStatus.CANCELED),
        )
    },
}

#: Whose turn may come; what of a step goes on; what it may end as; and which of these are bad ends.
STEP_STARTABLE: Final = frozenset({StepStatus.PENDING, StepStatus.QUEUED})
STEP_BEGUN: Final = frozenset({StepStatus.RUNNING, StepStatus.WAITING, StepStatus.DELAYED})
STEP_ENDED_BADLY: Final = frozenset({StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.CANCELED})
STEP_ENDED: Final = STEP_ENDED_BADLY | {StepStatus.COMPLETED, StepStatus.SKIPPED}
STEP_LIVE: Final = STEP_STARTABLE | STEP_BEGUN

#: The same for steps. `step.started` is a job's or a sub-workflow's, `step.waiting` a wait's; what has ended
#: opens again (`step.reopened`) where somebody retries a step, or one that it was skipped for.
STEP_TRANSITIONS: Final[dict[tuple[StepStatus, FactKind], StepStatus]] = {
    (StepStatus.PENDING, FactKind.STEP_QUEUED): StepStatus.QUEUED,
    **{
        (before, FactKind.STEP_STARTED): StepStatus.RUNNING
        for before in StepStatus
        if before in STEP_STARTABLE
    },
    **{
        (before, FactKind.STEP_WAITING): StepStatus.WAITING
        for before in StepStatus
        if before in STEP_STARTABLE
    },
    (StepStatus.DELAYED, FactKind.STEP_DUE): StepStatus.QUEUED,
    (StepStatus.PENDING, FactKind.STEP_FAILED): StepStatus.FAILED,
    **{
        (before, kind): after
        for before in (StepStatus.RUNNING, StepStatus.WAITING)
        for kind, after in (
            (FactKind.STEP_RETRIED, StepStatus.DELAYED),
            (FactKind.STEP_COMPLETED, StepStatus.COMPLETED),
            (FactKind.STEP_FAILED, StepStatus.FAILED),
            (FactKind.STEP_TIMED_OUT, StepStatus.TIMED_OUT),
        )
    },
    **{(before, FactKind.STEP_SKIPPED): StepStatus.SKIPPED for before in StepStatus if before in STEP_LIVE},
    **{(before, FactKind.STEP_CANCELED): StepStatus.CANCELED for before in StepStatus if before in STEP_LIVE},
    **{
        (before, FactKind.STEP_REOPENED): StepStatus.PENDING
        for before in StepStatus
        if before in STEP_ENDED_BADLY | {StepStatus.SKIPPED}
    },
}

#: One letter a step: how a workflow run's row keeps the states of all of its steps.
STEP_LETTERS: Final = {
    StepStatus.PENDING: "p",
    StepStatus.QUEUED: "q",
    StepStatus.RUNNING: "r",
    StepStatus.WAITING: "w",
    StepStatus.DELAYED: "d",
    StepStatus.COMPLETED: "c",
    StepStatus.FAILED: "f",
    StepStatus.TIMED_OUT: "t",
    StepStatus.SKIPPED: "s",
    StepStatus.CANCELED: "x",
}

#: A workflow run that has ended never changes again.
WORKFLOW_RUN_ENDED: Final = frozenset(
    {
        WorkflowRunStatus.COMPLETED,
        WorkflowRunStatus.FAILED,
        WorkflowRunStatus.TIMED_OUT,
        WorkflowRunStatus.CANCELED,
    }
)

#: A run that has ended never changes again.
ENDED: Final = frozenset(
    {
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.TIMED_OUT,
        RunStatus.CANCELED,
        RunStatus.DEAD_LETTER,
    }
)
#: What `replay` may start again, as a new run.
REPLAYABLE: Final = ENDED - {RunStatus.COMPLETED}

#: A settled trigger never changes again.
SETTLED: Final = frozenset({TriggerStatus.RECEIVED, TriggerStatus.TIMED_OUT, TriggerStatus.CANCELED})

#: Trigger types that an event from outside may settle; a sleep or an approval cannot be bypassed.
OPEN_TO_EVENTS: Final = frozenset({TriggerType.EVENT})


def next_status(status: TriggerStatus, happened: FactKind) -> TriggerStatus:
    """The status after `happened`. Raises InvariantViolated where the table has no such edge:
    the rules ask first, so to get here is a bug, and the transaction is given up."""
    return _after(TRANSITIONS, "trigger", status, happened)


def next_run_status(status: RunStatus, happened: FactKind) -> RunStatus:
    """The same for runs."""
    return _after(RUN_TRANSITIONS, "run", status, happened)


def next_workflow_run_status(status: WorkflowRunStatus, happened: FactKind) -> WorkflowRunStatus:
    """The same for workflow runs."""
    return _after(WORKFLOW_RUN_TRANSITIONS, "workflow run", status, happened)


def next_step_status(status: StepStatus, happened: FactKind) -> StepStatus:
    """The same for steps."""
    return _after(STEP_TRANSITIONS, "step", status, happened)


def _after(table: Mapping[tuple[S, FactKind], S], noun: str, status: S, happened: FactKind) -> S:
    try:
        return table[status, happened]
    except KeyError:
        raise InvariantViolated(f"a {noun} that is {status} cannot take {happened}") from None
