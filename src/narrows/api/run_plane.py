"""`/sdk/v1/runs/{id}/...`: what a handler asks for the run that it executes. The run token in the
`Authorization` says which run, of which project, and which dispatch of it asks; nothing else is looked at,
no API key and no Idempotency-Key: each call is safe to repeat by itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import UNSET

from narrows.api import bodies, run_bodies, run_render, run_replies
from narrows.api.call import Call
from narrows.api.deliveries import check_notify_url
from narrows.api.keys import hash_secret
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.api.run_bodies import EventBody, WaitBody
from narrows.core.keys import check_key
from narrows.core.run_records import Run
from narrows.core.runs import WORKER_LEASE_US
from narrows.core.states import GroupMode, OnEnd
from narrows.errors import InvalidRequest
from narrows.operations import reads
from narrows.operations.answers import compile_schema
from narrows.operations.opening import Wanted
from narrows.operations.run_plane import (
    CompleteRun,
    FailRun,
    Heartbeat,
    LogLine,
    ReleaseRun,
    SaveCheckpoint,
    SaveProgress,
    SleepRun,
    WaitForEvents,
    check_dispatch,
)
from narrows.wire import run_messages as wire

MAX_EVENTS = 100


async def _caller(call: Call) -> dict[str, Any]:
    """Which dispatch of which run asks: what all operations of the run plane begin with."""
    ticket = call.credential.ticket
    assert ticket is not None  # the route table says so
    return {
        "project_id": await call.project(),
        "run_id": ticket.run_id,
        "dispatch": ticket.dispatch,
        "entropy": call.entropy(),
    }


async def _ending(call: Call, body: Any) -> dict[str, Any]:
    """The same for a call that ends its dispatch: what was understood of the body tells a repeat from
    another request."""
    digest = hashlib.sha256(encode(body)).hexdigest()
    return await _caller(call) | {"body_hash": digest}


def _state(status: Any) -> Reply:
    return 200, encode(wire.RunState(status=status))


# ---- reading -------------------------------------------------------------------------------------


async def _current(call: Call) -> Run:
    """The run, executed by the very dispatch that asks."""
    caller = await _caller(call)
    run: Run = await call.service.read(reads.GetRun(caller["project_id"], caller["run_id"]))
    check_dispatch(run, caller["dispatch"])
    return run


async def get_payload(call: Call) -> Reply:
    """Get what the run was started with: the payload itself, `null` where it has none."""
    return 200, ((await _current(call)).payload or "null").encode()


async def get_checkpoint(call: Call) -> Reply:
    """Get what the run kept, and how its last wait ended."""
    (checkpoint,) = await run_replies.checkpoints(call.service, (await _current(call),))
    return 200, encode(checkpoint)


# ---- noting --------------------------------------------------------------------------------------


async def save_checkpoint(call: Call) -> Reply:
    """Keep any JSON value with the run, in place of what it kept before."""
    body = await bodies.decode(call, run_bodies.CHECKPOINT)
    state = bodies.payload_text(body.state, "state") or "null"
    run = await call.perform(SaveCheckpoint(**await _caller(call), state=state))
    return _state(run.status)


async def log_line(call: Call) -> Reply:
    """Write a line into the run's timeline."""
    body = await bodies.decode(call, run_bodies.LOG)
    operation = LogLine(**await _caller(call), level=body.level, message=body.message)
    return _state((await call.perform(operation)).status)


async def save_progress(call: Call) -> Reply:
    """Say how far the run is."""
    body = await bodies.decode(call, run_bodies.PROGRESS)
    if body.percent is None and body.message is None:
        raise InvalidRequest("Say how far the run is by percent, by message, or by both.")
    operation = SaveProgress(**await _caller(call), percent=body.percent, message=body.message)
    return _state((await call.perform(operation)).status)


async def heartbeat(call: Call) -> Reply:
    """Renew the lease of the run."""
    await bodies.decode(call, run_bodies.HEARTBEAT)
    run = await call.perform(Heartbeat(**await _caller(call), lease_us=WORKER_LEASE_US))
    return 200, encode(run_render.lease(run))


# ---- ending the dispatch -------------------------------------------------------------------------


async def complete_run(call: Call) -> Reply:
    """End the run with its result."""
    body = await bodies.decode(call, run_bodies.COMPLETE)
    result = bodies.payload_text(body.result, "result")
    return _state(await call.perform(CompleteRun(**await _ending(call, body), result=result)))


async def fail_run(call: Call) -> Reply:
    """End this attempt with an error."""
    body = await bodies.decode(call, run_bodies.FAIL)
    operation = FailRun(**await _ending(call, body), error=body.error, retry=body.retry)
    return _state(await call.perform(operation))


async def release_run(call: Call) -> Reply:
    """Give the run back unfinished; no attempt is counted."""
    body = await bodies.decode(call, run_bodies.RELEASE)
    return _state(await call.perform(ReleaseRun(**await _ending(call, body))))


async def sleep_run(call: Call) -> Reply:
    """Set the run down for a time."""
    body = await bodies.decode(call, run_bodies.SLEEP)
    operation = SleepRun(**await _ending(call, body), duration_secs=body.duration_secs)
    outcome = await call.perform(operation)
    return 200, encode(run_render.wait_result(outcome, (None,), several=False))


# ---- waiting for events --------------------------------------------------------------------------


class _Asked(NamedTuple):
    """One event of a wait, checked, and the secret of its callback URL where one is asked for."""

    wanted: Wanted
    token: str | None


async def wait_for_event(call: Call) -> Reply:
    """Set the run down until an event, or one, all or some of several, is there."""
    body = await bodies.decode(call, run_bodies.WAIT)
    events = _events(body)
    caller = await _ending(call, body)
    for each in events:
        await check_notify_url(call, caller["project_id"], each.notify_url)
    asked = [_asked(call, each, body.timeout_secs, number) for number, each in enumerate(events)]
    schemas = {each.wanted.expected_schema for each in asked} - {None}
    if schemas:
        await asyncio.to_thread(_compile, schemas)
    outcome = await call.perform(
        WaitForEvents(
            **caller,
            events=tuple(each.wanted for each in asked),
            mode=GroupMode(body.mode),
            count=body.count,
            on_timeout=OnEnd(body.on_timeout),
            on_cancel=OnEnd(body.on_cancel),
        )
    )
    urls = [None if each.token is None else f"{call.base_url()}/h/{each.token}" for each in asked]
    return 200, encode(run_render.wait_result(outcome, urls, several=body.events is not None))


def _compile(schemas: set[Any]) -> None:
    for schema in schemas:
        compile_schema(schema)  # refuses one that cannot be used


def _events(body: WaitBody) -> Sequence[EventBody]:
    """The events of a wait, one or several. Raises InvalidRequest where it is not clear what is asked."""
    if (body.event_key is None) == (body.events is None):
        raise InvalidRequest("Name what to wait for by event_key, or several by events; one of the two.")
    events = [_single(body)] if body.events is None else body.events
    if not 1 <= len(events) <= MAX_EVENTS:
        raise InvalidRequest(f"A run waits for 1 to {MAX_EVENTS} events at once; these are {len(events)}.")
    if body.events is not None and _has_own_fields(body):
        raise InvalidRequest(
            "With events, request_payload, expected_schema, notify_url and callback_url belong to each of them."
        )
    if len({each.event_key for each in events}) < len(events):
        raise InvalidRequest("A key stands twice among the events; each may be waited for once.")
    if (GroupMode(body.mode) == GroupMode.COUNT) != (body.count is not None):
        raise InvalidRequest("count says how many events the mode 'count' needs; give both, or neither.")
    if body.count is not None and not 1 <= body.count <= len(events):
        raise InvalidRequest(f"count must be 1 to {len(events)}, the number of events.")
    return events


def _single(body: WaitBody) -> EventBody:
    return EventBody(
        event_key=body.event_key or "",
        request_payload=body.request_payload,
        expected_schema=body.expected_schema,
        notify_url=body.notify_url,
        callback_url=body.callback_url,
    )


def _has_own_fields(body: WaitBody) -> bool:
    payloads = (body.request_payload, body.expected_schema)
    return body.callback_url or body.notify_url is not None or any(each is not UNSET for each in payloads)


def _asked(call: Call, event: EventBody, timeout_secs: int, number: int) -> _Asked:
    """The token is worked out from the dispatch, so that a repeat of the call gets the same address."""
    ticket, token = call.credential.ticket, None
    if event.callback_url and ticket is not None:
        token = call.api.settings.keyring.callback_token(ticket, number)
    return _Asked(
        Wanted(
            event_key=check_key(event.event_key),
            timeout_secs=timeout_secs if event.timeout_secs is None else event.timeout_secs,
            request_payload=bodies.payload_text(event.request_payload, "request_payload"),
            expected_schema=bodies.payload_text(event.expected_schema, "expected_schema"),
            notify_url=event.notify_url,
            callback_token_hash=None if token is None else hash_secret(token),
        ),
        token,
    )
