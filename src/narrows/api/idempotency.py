"""Idempotency keys: the header, the scope, what is kept of a reply, and its repeat.

The record is written in the operation's own commit (`operations/idempotency.py`); here is only what
HTTP knows of it. Only 2xx are kept, a secret never: the operation refuses the repeat of a reply with
one and names what was made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from narrows.api import replies
from narrows.errors import Conflict, InvalidRequest
from narrows.operations import reads
from narrows.operations.access import HOST_PROJECT
from narrows.operations.base import Replayed, TriggerOutcome
from narrows.operations.idempotency import Idempotent, Kept

if TYPE_CHECKING:
    from narrows.api.call import Call
    from narrows.api.routing import Reply
    from narrows.core.records import IdempotencyRecord

MAX_KEY_LENGTH: Final = 255
REPLAYED: Final = (b"idempotency-replayed", b"true")

_KEY = re.compile(rb"[\x20-\x7e]{1,255}")


def read_key(call: Call, in_body: str | None = None) -> bytes | None:
    """The Idempotency-Key of a request, under either of its names, or as its body has it."""
    headers = call.headers
    key = headers.get(b"idempotency-key")
    other = headers.get(b"x-idempotency-key")
    if key is None:
        key = other
    elif other is not None and other != key:
        raise InvalidRequest("Idempotency-Key and X-Idempotency-Key differ; send one of them.")
    if in_body is not None:
        if key is not None and key != in_body.encode():
            raise InvalidRequest("Idempotency-Key and the body's idempotency_key differ; send one of them.")
        key = in_body.encode()
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(f"An Idempotency-Key has 1 to {MAX_KEY_LENGTH} printable ASCII characters.")
    return key


def scope_hash(call: Call, key: bytes) -> str:
    """Credential, project, method, raw path and key."""
    parts = (
        call.credential.actor.label.encode(),
        (call.project_id or "").encode(),
        call.method.encode(),
        call.scope["raw_path"],
        key,
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def body_hash(call: Call) -> str:
    return hashlib.sha256(call.body_bytes).hexdigest()


class InFlight:
    """Requests with a key that are being worked on now: `with in_flight.claim(scope): ...`."""

    def __init__(self) -> None:
        self._scopes: set[str] = set()

    @contextmanager
    def claim(self, scope: str) -> Iterator[None]:
        if scope in self._scopes:
            raise Conflict(
                "A request with this Idempotency-Key is still being worked on; repeat it later.",
                retry_after_secs=1,
            )
        self._scopes.add(scope)
        try:
            yield
        finally:
            self._scopes.discard(scope)


def perform(
    call: Call, operation: Any, keep: Callable[[Any], Kept], key_in_body: str | None = None
) -> Awaitable[Any]:
    """Perform the operation; with a key, once: then the outcome of a repeat is a Replayed."""
    key = read_key(call, key_in_body)
    return call.perform(operation) if key is None else _perform_once(call, operation, keep, key)


async def _perform_once(call: Call, operation: Any, keep: Callable[[Any], Kept], key: bytes) -> Any:
    scope = scope_hash(call, key)
    with call.api.in_flight.claim(scope):
        return await call.perform(
            Idempotent(
                operation=operation,
                project_id=call.project_id or HOST_PROJECT,
                scope_hash=scope,
                body_hash=body_hash(call),
                keep=keep,
            )
        )


def keep_trigger(outcome: TriggerOutcome) -> Kept:
    """The trigger's id; its reply is rendered again."""
    return Kept(status=outcome.status, trigger_id=outcome.trigger.id)


async def replay(call: Call, record: IdempotencyRecord) -> Reply:
    """The reply of a repeat."""
    call.extra_headers.append(REPLAYED)
    if record.trigger_id is not None:
        trigger = await call.service.read(
            reads.GetTriggerById(project_id=record.project_id, trigger_id=record.trigger_id)
        )
        return await replies.trigger(call, trigger, record.status)
    return record.status, (record.reply or "{}").encode()


async def perform_on_trigger(call: Call, operation: Any) -> Reply:
    """What most changes are: perform it, and answer with the trigger."""
    outcome = await perform(call, operation, keep_trigger)
    if isinstance(outcome, Replayed):
        return await replay(call, outcome.record)
    return await replies.trigger(call, outcome.trigger, outcome.status)
