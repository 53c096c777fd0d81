"""`/v1/events`: waits by their event key. Endpoints decode, perform, reply; the rules are in the
operations. By id: `triggers.py`; prefix sends
and purges: `many.py`; streams: `stream.py`."""

from __future__ import annotations

import asyncio
from typing import Final

from narrows.api import bodies, idempotency, render, replies
from narrows.api.call import Call
from narrows.api.checks import check_plain, check_tags, choice, stated
from narrows.api.deliveries import check_notify_url
from narrows.api.keys import SECRET_BYTES, hash_secret, make_token
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core.keys import check_key
from narrows.core.states import SourceType, TriggerStatus
from narrows.errors import NotFound
from narrows.operations import reads
from narrows.operations.answers import compile_schema
from narrows.operations.base import HeldOutcome, Replayed, TriggerOutcome
from narrows.operations.events import SendEvent
from narrows.operations.idempotency import Kept
from narrows.operations.triggers import CancelTrigger, OpenTrigger
from narrows.wire import messages

STATUSES: Final = tuple(TriggerStatus)
SOURCE_TYPES: Final = tuple(SourceType)


async def list_triggers(call: Call) -> Reply:
    """List triggers, newest first."""
    query = call.query
    limit, cursor = call.page()
    found = await call.service.read(
        reads.ListTriggers(
            project_id=await call.project(),
            status=choice(stated(query, "status"), "status", STATUSES),
            source_type=choice(stated(query, "source_type"), "source_type", SOURCE_TYPES),
            workflow_run_id=stated(query, "workflow_run_id"),
            job_run_id=stated(query, "job_run_id"),
            event_key=_key_of_query(call, "event_key"),
            key_prefix=_key_of_query(call, "key_prefix"),
            tag=stated(query, "tag"),
            limit=limit,
            cursor=cursor,
        )
    )
    data = await replies.trigger_messages(call.service, found.items)
    return replies.page(messages.TriggerPage, found, data)


def _key_of_query(call: Call, name: str) -> str | None:
    key = stated(call.query, name)
    return None if key is None else check_key(key, name)


async def open_trigger(call: Call) -> Reply:
    """Open a wait of a client."""
    body = await bodies.decode(call, bodies.OPEN_TRIGGER)
    check_tags(body.tags)
    expected_schema = bodies.payload_text(body.expected_schema, "expected_schema")
    if expected_schema is not None:
        await asyncio.to_thread(compile_schema, expected_schema)  # refuses one that cannot be used
    token = make_token(call.service.clock.random_bytes(SECRET_BYTES)) if body.callback_url else None
    project_id = await call.project(body.project_id)
    await check_notify_url(call, project_id, body.notify_url)
    operation = OpenTrigger(
        actor=call.credential.actor,
        project_id=project_id,
        event_key=check_key(body.event_key),
        timeout_secs=body.timeout_secs,
        entropy=call.entropy(),
        request_payload=bodies.payload_text(body.request_payload, "request_payload"),
        name=check_plain(body.name, "name"),
        tags=encode(body.tags).decode() if body.tags else None,
        expected_schema=expected_schema,
        notify_url=body.notify_url,
        callback_token_hash=None if token is None else hash_secret(token),
        if_waiting=body.if_waiting,
    )
    if token is None:
        return await idempotency.perform_on_trigger(call, operation)
    return await _open_with_callback(call, operation, token)


async def _open_with_callback(call: Call, operation: OpenTrigger, token: str) -> Reply:
    outcome = await idempotency.perform(call, operation, _keep_secret)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    url = f"{call.base_url()}/h/{token}"
    return await replies.trigger(call, outcome.trigger, outcome.status, url)


def _keep_secret(outcome: TriggerOutcome) -> Kept:
    return Kept(status=outcome.status, secret_id=outcome.trigger.id)


async def get_stats(call: Call) -> Reply:
    """Count the triggers of a project by status."""
    counters = await call.service.read(reads.GetStats(project_id=await call.project()))
    return 200, encode(render.stats(counters))


async def get_trigger(call: Call) -> Reply:
    """Get the waiting trigger of a key, else the newest."""
    found = await call.service.read(reads.GetTrigger(project_id=await call.project(), event_key=call.param))
    return await replies.trigger(call, found)


async def cancel_trigger(call: Call) -> Reply:
    """Cancel the waiting trigger of a key."""
    outcome = await call.perform(
        CancelTrigger(
            actor=call.credential.actor,
            project_id=await call.project(),
            entropy=call.entropy(),
            event_key=call.param,
        )
    )
    return await replies.trigger(call, outcome.trigger)


async def send_event(call: Call) -> Reply:
    """Send an event to the waiting trigger of a key."""
    body = await bodies.decode(call, bodies.SEND)
    return await perform_send(call, body, await call.project(body.project_id), event_key=call.param)


async def perform_send(
    call: Call,
    body: bodies.SendBody,
    project_id: str,
    *,
    event_key: str | None = None,
    trigger_id: str | None = None,
) -> Reply:
    """A send, by key or by id: 200 with the trigger, or 202 with what is held."""
    operation = SendEvent(
        actor=call.credential.actor,
        project_id=project_id,
        entropy=call.entropy(),
        payload=bodies.payload_text(body.payload),
        event_key=event_key,
        trigger_id=trigger_id,
        hold_secs=body.hold_secs,
        event_id=check_plain(body.event_id, "event_id"),
    )
    try:
        outcome = await idempotency.perform(call, operation, _keep_send)
    except NotFound as error:
        raise await _with_near_keys(call, error, operation) from error
    if isinstance(outcome, TriggerOutcome):
        return await replies.trigger(call, outcome.trigger, outcome.status)
    if isinstance(outcome, HeldOutcome):
        return 202, encode(render.held(outcome.held))
    return await idempotency.replay(call, outcome.record)


async def _with_near_keys(call: Call, error: NotFound, operation: SendEvent) -> NotFound:
    """For those who may read: which keys like this one are waited on."""
    if operation.event_key is None or not call.credential.allows("events:read"):
        return error
    try:
        await call.service.read(
            reads.GetTrigger(project_id=operation.project_id, event_key=operation.event_key)
        )
    except NotFound as unread:
        return NotFound(error.message, details=unread.details)
    return error


def _keep_send(outcome: TriggerOutcome | HeldOutcome) -> Kept:
    if isinstance(outcome, TriggerOutcome):
        return idempotency.keep_trigger(outcome)
    return Kept(status=202, reply=encode(render.held(outcome.held)).decode())


async def explain(call: Call) -> Reply:
    """Explain why a wait did or did not fire."""
    event_key = check_key(call.query.get("event_key", ""))
    project_id = await call.project()
    found = await call.service.read(reads.Explain(project_id=project_id, event_key=event_key))
    trigger = found.trigger
    return 200, encode(
        messages.Explanation(
            event_key=event_key,
            project_id=project_id,
            lines=list(found.lines),
            trigger=None if trigger is None else await replies.trigger_message(call.service, trigger),
            near_keys=list(found.near_keys) or None,
            unmatched=[render.unmatched(event) for event in found.unmatched] or None,
            held_count=found.held_count,
        )
    )
