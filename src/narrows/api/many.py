"""`/v1/events/prefix/{prefix}/send` and `/v1/events/purge`: what takes many commits. With an
Idempotency-Key each of those commits keeps how far it has come; a dry run changes nothing, so that
only its answer is kept."""

from __future__ import annotations

from typing import Any

from narrows.api import bodies, idempotency, replies
from narrows.api.call import Call
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.operations.base import Replayed
from narrows.operations.idempotency import KeepReply, Kept
from narrows.operations.prefix import SendPrefix
from narrows.operations.purge import Purge
from narrows.wire import messages


async def send_prefix(call: Call) -> Reply:
    """Send an event to all that wait under a prefix."""
    body = await bodies.decode(call, bodies.PREFIX_SEND)
    operation = SendPrefix(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        prefix=call.param,
        payload=bodies.payload_text(body.payload),
        entropy=call.entropy(),
        dry_run=body.dry_run,
        **_key_of(call, body.dry_run),
    )
    outcome = await call.service.send_prefix(operation)
    call.is_done = not outcome.dry_run
    shown = messages.PrefixResult(
        resolved=outcome.resolved,
        triggers=await replies.trigger_messages(call.service, outcome.triggers),
        refused=outcome.refused or None,
        triggers_truncated=outcome.truncated or None,
        dry_run=outcome.dry_run or None,
    )
    return await _reply(call, shown, outcome)


async def purge(call: Call) -> Reply:
    """Purge settled triggers."""
    body = await bodies.decode(call, bodies.PURGE)
    operation = Purge(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        older_than_days=body.older_than_days,
        dry_run=body.dry_run,
        entropy=call.entropy(),
        **_key_of(call, body.dry_run),
    )
    outcome = await call.service.purge(operation)
    call.is_done = not outcome.dry_run
    shown = messages.PurgeResult(
        deleted=outcome.deleted, dry_run=outcome.dry_run, would_delete=outcome.would_delete
    )
    return await _reply(call, shown, outcome)


def _key_of(call: Call, dry_run: bool) -> dict[str, str]:
    key = idempotency.read_key(call)
    if key is None or dry_run:
        return {}
    return {"scope_hash": idempotency.scope_hash(call, key), "body_hash": idempotency.body_hash(call)}


async def _reply(call: Call, shown: messages.PrefixResult | messages.PurgeResult, outcome: Any) -> Reply:
    if outcome.replayed:
        call.extra_headers.append(idempotency.REPLAYED)
    if not outcome.dry_run or idempotency.read_key(call) is None:
        return 200, encode(shown)
    operation = KeepReply(
        actor=call.credential.actor,
        project_id=call.project_id or "",
        entropy=0,
        reply=encode(shown).decode(),
    )
    kept = await idempotency.perform(call, operation, lambda reply: Kept(status=200, reply=reply))
    if isinstance(kept, Replayed):
        return await idempotency.replay(call, kept.record)
    return 200, kept.encode()
