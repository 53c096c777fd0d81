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


#: (status, what happened) -> status. What is not in the table is refused.
TRANSITIONS: Final[dict[tuple[TriggerStatus, FactKind], TriggerStatus]] = {
    (TriggerStatus.WAITING, FactKind.TRIGGER_EXTENDED): TriggerStatus.WAITING,
    (TriggerStatus.WAITING, FactKind.TRIGGER_RECEIVED): TriggerStatus.RECEIVED,
    (TriggerStatus.WAITING, FactKind.TRIGGER_TIMED_OUT): TriggerStatus.TIMED_OUT,
    (TriggerStatus.WAITING, FactKind.TRIGGER_CANCELED): TriggerStatus.CANCELED,
}

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


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> waiting: trigger.opened"]
    lines += [f"    {before} --> {after}: {kind}" for (before, kind), after in TRANSITIONS.items()]
    lines += [f"    {status} --> [*]" for status in TriggerStatus if status in SETTLED]
    return "\n".join(lines) + "\n"
