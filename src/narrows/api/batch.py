"""`POST /v1/events/batch`: up to 1,000 sends in one commit, each with a result of its own.

An item whose key or payload is out of bounds has its own 400, like any other refusal; what is wrong
with the body as a whole refuses the batch."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from narrows.api import bodies, idempotency, problems, render, replies
from narrows.api.call import Call, too_large
from narrows.api.checks import check_plain
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.api.settings import BODY_LIMIT_BYTES
from narrows.core.keys import check_key
from narrows.errors import InvalidRequest, NarrowsError, NotFound, Refusal, status_of
from narrows.operations import reads
from narrows.operations.base import HeldOutcome, Replayed, TriggerOutcome
from narrows.operations.events import BatchEvent, SendBatch
from narrows.operations.idempotency import Kept
from narrows.wire import messages
from narrows.wire.payloads import count_members

MAX_EVENTS: Final = 1000
MAX_MEMBERS: Final = 200_000

Outcome = TriggerOutcome | HeldOutcome | NarrowsError


class _KeptItem(msgspec.Struct, omit_defaults=True):
    """What an Idempotency-Key keeps of one result: a trigger's id, or the rendered rest."""

    status: int
    trigger_id: str | None = None
    result: Any = None


async def send_batch(call: Call) -> Reply:
    """Send up to 1,000 events, each with a result of its own."""
    body = await bodies.decode(call, bodies.BATCH)
    if len(body.events) > MAX_EVENTS:
        raise InvalidRequest(f"The batch has {len(body.events)} events; send at most {MAX_EVENTS}.")
    if count_members(call.body_bytes, MAX_MEMBERS) > MAX_MEMBERS:
        raise InvalidRequest(f"The batch has over {MAX_MEMBERS:,} members; send a smaller one.")
    checked = [_check(item) for item in body.events]
    operation = SendBatch(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        entropy=call.entropy(),
        events=tuple(event for event in checked if isinstance(event, BatchEvent)),
    )

    def keep(outcomes: tuple[Outcome, ...]) -> Kept:
        return Kept(status=200, reply=encode([_kept(each) for each in _merge(checked, outcomes)]).decode())

    outcome = await idempotency.perform(call, operation, keep)
    if isinstance(outcome, Replayed):
        return await _replay(call, outcome)
    results = [await _result(call, each) for each in _merge(checked, outcome)]
    return 200, encode(messages.BatchResult(results=results))


def _check(item: bodies.BatchItemBody) -> BatchEvent | Refusal:
    try:
        if not isinstance(item.payload, msgspec.UnsetType) and len(bytes(item.payload)) > BODY_LIMIT_BYTES:
            return too_large(BODY_LIMIT_BYTES)
        return BatchEvent(
            event_key=check_key(item.event_key),
            payload=bodies.payload_text(item.payload),
            hold_secs=item.hold_secs,
            event_id=check_plain(item.event_id, "event_id"),
        )
    except InvalidRequest as refusal:
        return refusal


def _merge(checked: list[BatchEvent | Refusal], outcomes: tuple[Outcome, ...]) -> list[Outcome]:
    """Outcomes come for those that passed the check; all results stand in the order of the items."""
    coming = iter(outcomes)
    return [next(coming) if isinstance(each, BatchEvent) else each for each in checked]


async def _result(call: Call, outcome: Outcome) -> messages.BatchItemResult:
    if isinstance(outcome, TriggerOutcome):
        shown = await replies.trigger_message(call.service, outcome.trigger)
        return messages.BatchItemResult(status=outcome.status, trigger=shown)
    return _without_trigger(outcome)


def _without_trigger(outcome: HeldOutcome | NarrowsError) -> messages.BatchItemResult:
    if isinstance(outcome, HeldOutcome):
        return messages.BatchItemResult(status=202, held=render.held(outcome.held))
    problem = problems.problem(outcome, "")
    return messages.BatchItemResult(
        status=status_of(outcome), error=problem.error, code=problem.code, details=problem.details
    )


def _kept(outcome: Outcome) -> _KeptItem:
    if isinstance(outcome, TriggerOutcome):
        return _KeptItem(status=outcome.status, trigger_id=outcome.trigger.id)
    return _KeptItem(status=0, result=_without_trigger(outcome))


async def _replay(call: Call, outcome: Replayed) -> Reply:
    """Triggers are rendered again; one that was purged since then is 404 in its place."""
    record = outcome.record
    results: list[Any] = []
    for item in msgspec.json.decode(record.reply or "[]", type=list[_KeptItem]):
        if item.trigger_id is None:
            results.append(item.result)
            continue
        again: Outcome
        try:
            found = await call.service.read(
                reads.GetTriggerById(project_id=record.project_id, trigger_id=item.trigger_id)
            )
            again = TriggerOutcome(found, item.status)
        except NotFound as error:
            again = error
        results.append(await _result(call, again))
    call.extra_headers.append(idempotency.REPLAYED)
    return 200, encode(messages.BatchResult(results=results))
