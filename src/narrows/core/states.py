"""Every status, every transition and every fact kind, as tables. Nothing else spells a status.

The diagram in `docs/reference/states.md` is generated from `TRANSITIONS` by `narrows.core.states.diagram`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from narrows.errors import InvariantViolated


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


class MessageKind(StrEnum):
    """Durable messages between roots, consumed exactly once."""

    CANCEL_RUNS_OF_JOB = "cancel_runs_of_job"


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
    try:
        return TRANSITIONS[status, happened]
    except KeyError:
        raise InvariantViolated(f"a trigger that is {status} cannot take {happened}") from None


def next_run_status(status: RunStatus, happened: FactKind) -> RunStatus:
    """The same for runs."""
    try:
        return RUN_TRANSITIONS[status, happened]
    except KeyError:
        raise InvariantViolated(f"a run that is {status} cannot take {happened}") from None


def run_diagram() -> str:
    """The runs' table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> queued: run.created", "    [*] --> delayed: run.created"]
    lines += [f"    {before} --> {after}: {kind}" for (before, kind), after in RUN_TRANSITIONS.items()]
    lines += [f"    {status} --> [*]" for status in RunStatus if status in ENDED]
    return "\n".join(lines) + "\n"


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> waiting: trigger.opened"]
    lines += [f"    {before} --> {after}: {kind}" for (before, kind), after in TRANSITIONS.items()]
    lines += [f"    {status} --> [*]" for status in TriggerStatus if status in SETTLED]
    return "\n".join(lines) + "\n"
