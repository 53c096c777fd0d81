"""The life of a trigger: each function takes a record and answers the changed record.

Pure: whether a change is allowed at all is asked here too (`refuse_event`), but who asks, in what
order, and what is saved, is the operations' affair.
"""

from __future__ import annotations

from narrows.core.records import NEVER, Trigger
from narrows.core.states import (
    OPEN_TO_EVENTS,
    FactKind,
    SourceType,
    TriggerStatus,
    TriggerType,
    next_status,
)
from narrows.errors import Conflict

CANCELED_BY_USER = "canceled by user"


def expiry(now: int, timeout_secs: int) -> int:
    """When a wait of `timeout_secs` that starts now is over; 0 means never."""
    return now + timeout_secs * 1_000_000 if timeout_secs else NEVER


def new_wait(
    *,
    project_id: str,
    trigger_id: str,
    event_key: str,
    ordinal: int,
    timeout_secs: int,
    now: int,
    opened_by: str,
    trigger_type: TriggerType = TriggerType.EVENT,
    run_id: str | None = None,
    root_id: str | None = None,
    wait_group_id: str | None = None,
) -> Trigger:
    """A fresh wait: of the run `run_id` in its wait group, or without one of a client, which is its
    own root."""
    return Trigger(
        project_id=project_id,
        id=trigger_id,
        event_key=event_key,
        ordinal=ordinal,
        version=1,
        trigger_type=trigger_type,
        source_type=SourceType.JOB_RUN,
        status=TriggerStatus.WAITING,
        root_id=root_id,
        wait_group_id=wait_group_id,
        workflow_run_id=None,
        workflow_step_run_id=None,
        job_run_id=run_id,
        waiter="client" if run_id is None else None,
        name=None,
        tags=None,
        request_payload=None,
        request_payload_id=None,
        response_payload=None,
        response_payload_id=None,
        expected_schema_id=None,
        timeout_secs=timeout_secs,
        requested_at=now,
        expires_at=expiry(now, timeout_secs),
        received_at=None,
        settled_at=None,
        error=None,
        sent_by=None,
        opened_by=opened_by,
        last_fact_id=None,
    )


def of_step(trigger: Trigger, workflow_run_id: str, step_id: str) -> Trigger:
    """A fresh wait as that of a workflow's step."""
    return trigger._replace(
        source_type=SourceType.WORKFLOW_STEP,
        root_id=workflow_run_id,
        workflow_run_id=workflow_run_id,
        workflow_step_run_id=step_id,
        waiter=None,
    )


def until(trigger: Trigger, expires_at: int) -> Trigger:
    """A fresh wait that is over at a given time, whatever its `timeout_secs` come to."""
    span_us = max(0, expires_at - trigger.requested_at)
    return trigger._replace(expires_at=expires_at, timeout_secs=-(-span_us // 1_000_000))


def is_waiting(trigger: Trigger) -> bool:
    return trigger.status == TriggerStatus.WAITING


def is_overdue(trigger: Trigger, wall: int) -> bool:
    """Whether its time has come by the wall clock, and nobody has settled it yet."""
    return trigger.status == TriggerStatus.WAITING and trigger.expires_at <= wall


def receive(trigger: Trigger, payload: str | None, payload_id: str | None, sent_by: str, now: int) -> Trigger:
    """The trigger with the event's payload. `now` is never before `requested_at`: stamps only rise."""
    return trigger._replace(
        status=next_status(trigger.status, FactKind.TRIGGER_RECEIVED),
        version=trigger.version + 1,
        response_payload=payload,
        response_payload_id=payload_id,
        received_at=now,
        settled_at=now,
        sent_by=sent_by,
    )


def time_out(trigger: Trigger, now: int) -> Trigger:
    return trigger._replace(
        status=next_status(trigger.status, FactKind.TRIGGER_TIMED_OUT),
        version=trigger.version + 1,
        settled_at=max(now, trigger.expires_at),
        error=f"no event within {trigger.timeout_secs} s",
    )


def come_due(trigger: Trigger, now: int) -> tuple[Trigger, FactKind]:
    """What its time brings: a sleep has elapsed, and is received without a payload; any other wait has
    timed out."""
    if trigger.trigger_type != TriggerType.SLEEP:
        return time_out(trigger, now), FactKind.TRIGGER_TIMED_OUT
    elapsed = receive(trigger, None, None, "engine", max(now, trigger.expires_at))
    return elapsed, FactKind.TRIGGER_RECEIVED


def cancel(trigger: Trigger, reason: str, now: int) -> Trigger:
    return trigger._replace(
        status=next_status(trigger.status, FactKind.TRIGGER_CANCELED),
        version=trigger.version + 1,
        settled_at=now,
        error=reason,
    )


def extend(trigger: Trigger, timeout_secs: int, now: int) -> Trigger:
    """A new time-out, counted from now. `timeout_secs` stays the span from `requested_at`."""
    next_status(trigger.status, FactKind.TRIGGER_EXTENDED)
    expires_at = expiry(now, timeout_secs)
    whole = 0 if expires_at == NEVER else -(-(expires_at - trigger.requested_at) // 1_000_000)
    return trigger._replace(version=trigger.version + 1, timeout_secs=whole, expires_at=expires_at)


def refuse_event(trigger: Trigger) -> None:
    """Raise Conflict if no event may settle this trigger, in whatever way it comes."""
    if trigger.trigger_type not in OPEN_TO_EVENTS:
        raise Conflict(
            f"The trigger {trigger.id} is a {trigger.trigger_type} and takes no event. "
            "It ends by itself or by a decision."
        )
    if not is_waiting(trigger):
        raise Conflict(
            f"The trigger {trigger.id} is already {trigger.status}. "
            "Open a new wait under its key before you send again."
        )
