"""`/v1/triggers/{id}`: the same as by key, for exactly that wait, so that a late retry never
touches the next wait under the key; and what exists by id only."""

from __future__ import annotations

import asyncio
from typing import Final

from narrows.api import bodies, idempotency, replies
from narrows.api.call import Call
from narrows.api.events import perform_send
from narrows.api.keys import SECRET_BYTES, hash_secret, make_token
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core import records
from narrows.core.states import SETTLED
from narrows.engine.feed import FeedClosed
from narrows.errors import InvalidRequest
from narrows.operations import reads
from narrows.operations.base import Replayed
from narrows.operations.idempotency import Kept
from narrows.operations.triggers import CancelTrigger, CreateCallbackUrl, ExtendTrigger
from narrows.wire import messages

DEFAULT_WAIT_SECS: Final = 30
MAX_WAIT_SECS: Final = 60


async def get_trigger(call: Call) -> Reply:
    """Get a trigger by its id."""
    return await replies.trigger(call, await _read(call, await call.project()))


async def _read(call: Call, project_id: str) -> records.Trigger:
    found: records.Trigger = await call.service.read(
        reads.GetTriggerById(project_id=project_id, trigger_id=call.param)
    )
    return found


async def cancel_trigger(call: Call) -> Reply:
    """Cancel exactly this trigger."""
    outcome = await call.perform(
        CancelTrigger(
            actor=call.credential.actor,
            project_id=await call.project(),
            entropy=call.entropy(),
            trigger_id=call.param,
        )
    )
    return await replies.trigger(call, outcome.trigger)


async def send_event(call: Call) -> Reply:
    """Send an event to exactly this trigger."""
    body = await bodies.decode(call, bodies.SEND)
    return await perform_send(call, body, await call.project(body.project_id), trigger_id=call.param)


async def extend_trigger(call: Call) -> Reply:
    """Move a trigger's time-out, counted from now."""
    body = await bodies.decode(call, bodies.EXTEND)
    operation = ExtendTrigger(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        entropy=call.entropy(),
        trigger_id=call.param,
        timeout_secs=body.timeout_secs,
    )
    return await idempotency.perform_on_trigger(call, operation)


async def wait_for_trigger(call: Call) -> Reply:
    """Wait up to 60 s for a trigger to settle.

    The long poll watches before it reads, so that no change can slip between.
    """
    wait_secs = long_poll_secs(call)
    project_id = await call.project()
    with call.api.streams.counted(project_id), call.service.feed.watch(project_id, call.param) as watch:
        found = await _read(call, project_id)
        try:
            async with asyncio.timeout(wait_secs):
                while found.status not in SETTLED:
                    changed = await watch.next()
                    found = changed if changed.version > found.version else found
        except (TimeoutError, FeedClosed):
            pass  # still waiting: the caller asks again, of the next server if this one is stopping
    await call.api.authenticator.recheck(call.credential)
    return await replies.trigger(call, found)


def long_poll_secs(call: Call) -> int:
    """How long a long poll may last."""
    wait_secs = call.integer("timeout_secs", DEFAULT_WAIT_SECS)
    if wait_secs < 0:
        raise InvalidRequest("timeout_secs must not be negative.")
    return min(wait_secs, MAX_WAIT_SECS)


async def create_callback_url(call: Call) -> Reply:
    """Make a secret address that takes the event."""
    body = await bodies.decode(call, bodies.CALLBACK_URL)
    token = make_token(call.service.clock.random_bytes(SECRET_BYTES))
    operation = CreateCallbackUrl(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        entropy=call.entropy(),
        trigger_id=call.param,
        token_hash=hash_secret(token),
    )
    outcome = await idempotency.perform(call, operation, _keep_secret)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    url = f"{call.base_url()}/h/{token}"
    return 201, encode(messages.CallbackUrl(id=outcome.id, trigger_id=outcome.trigger_id, callback_url=url))


def _keep_secret(outcome: records.CallbackUrl) -> Kept:
    return Kept(status=201, secret_id=outcome.id)
