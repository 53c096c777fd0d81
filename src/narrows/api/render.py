"""Records of the core as messages of the contract. Pure: what has to be read for it is handed in
(`replies.py` reads). Times become RFC 3339 text, payload texts go out as they are."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw

from narrows.core import records
from narrows.core.run_records import Delivery
from narrows.wire import messages, run_messages
from narrows.wire.times import to_text


def raw(text: str | None) -> Any:
    return UNSET if text is None else Raw(text)


def object_or_nothing(text: str | None) -> Any:
    """A JSON object that goes out as it is kept; an empty one is left out."""
    return None if text is None or text == "{}" else raw(text)


def time(at: int | None) -> Any:
    # The messages declare datetime, for clients; here the text is already what shall be written.
    return None if at is None else to_text(at)


def trigger(
    record: records.Trigger, expected_schema: str | None = None, callback_url: str | None = None
) -> messages.Trigger:
    """One trigger, with its payloads where they are at hand."""
    return messages.Trigger(
        id=record.id,
        event_key=record.event_key,
        project_id=record.project_id,
        source_type=word(record.source_type),
        workflow_run_id=record.workflow_run_id,
        workflow_step_run_id=record.workflow_step_run_id,
        job_run_id=record.job_run_id,
        status=word(record.status),
        request_payload=raw(record.request_payload),
        response_payload=raw(record.response_payload),
        timeout_secs=record.timeout_secs,
        requested_at=time(record.requested_at),
        received_at=time(record.received_at),
        expires_at=time(record.expires_at),
        error=record.error,
        trigger_type=word(record.trigger_type),
        waiter=word(record.waiter),
        name=record.name,
        tags=None if record.tags is None else raw(record.tags),
        expected_schema=raw(expected_schema),
        sent_by=record.sent_by,
        settled_at=time(record.settled_at),
        notify_url=record.notify_url,
        notify_status=word(record.notify_status),
        callback_url=callback_url,
    )


def word(text: Any) -> Any:
    """A word of a table in `core/states.py`, which the messages spell out as literals."""
    return text


def held(record: records.HeldEvent, *, listed: bool = False) -> messages.Held:
    """A held event: short in the 202 of its send, whole in the list."""
    short = messages.Held(
        id=record.id,
        event_key=record.event_key,
        project_id=record.project_id,
        held=True,
        held_until=time(record.held_until),
    )
    if listed:
        short.held_at = time(record.held_at)
        short.event_id = record.event_id
        short.payload = raw(record.payload)
        short.sent_by = record.sent_by
    return short


def unmatched(record: records.UnmatchedEvent) -> messages.Unmatched:
    return messages.Unmatched(
        id=record.id,
        event_key=record.event_key,
        project_id=record.project_id,
        reason=word(record.reason),
        arrived_at=time(record.arrived_at),
        trigger_id=record.trigger_id,
        late_secs=None if record.late_us is None else record.late_us / 1_000_000,
        detail=record.detail,
        sent_by=record.sent_by,
    )


def delivery(record: Delivery) -> run_messages.Delivery:
    return run_messages.Delivery(
        id=record.id,
        project_id=record.project_id,
        trigger_id=record.trigger_id,
        type=word(record.kind),
        url=record.url,
        status=word(record.status),
        attempts=record.attempts,
        last_status=record.last_status,
        error=record.error,
        created_at=time(record.created_at),
        next_attempt_at=time(record.due_at),
        finished_at=time(record.finished_at),
    )


def delivery_body(
    record: Delivery, told: records.Trigger, expected_schema: str | None
) -> run_messages.DeliveryBody:
    """What a delivery sends: `told` is the trigger as it was when the delivery was made."""
    return run_messages.DeliveryBody(
        type=word(record.kind), timestamp=time(record.created_at), data=trigger(told, expected_schema)
    )


def stats(counters: records.Counters) -> messages.Stats:
    received = counters.received
    return messages.Stats(
        total_count=counters.waiting + received + counters.timed_out + counters.canceled,
        waiting_count=counters.waiting,
        received_count=received,
        timed_out_count=counters.timed_out,
        canceled_count=counters.canceled,
        avg_wait_duration_secs=counters.wait_us / received / 1_000_000 if received else 0.0,
    )


def project(record: records.Project, signing_secret: str | None = None) -> messages.Project:
    """A project; with its signing secret only in the reply that made it."""
    return messages.Project(
        id=record.id,
        created_at=time(record.created_at),
        name=record.name,
        signing_secret=signing_secret,
    )


def api_key(record: records.ApiKey, secret: str | None = None) -> messages.ApiKey:
    """An API key; with its secret only in the reply that made it."""
    return messages.ApiKey(
        id=record.id,
        scopes=msgspec.json.decode(record.scopes, type=list[str]),
        created_at=time(record.created_at),
        project_id=record.project_id,
        name=record.name,
        key=secret,
        expires_at=time(record.expires_at),
        revoked_at=time(record.revoked_at),
        replaced_by=record.replaced_by,
    )
