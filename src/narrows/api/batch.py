"""`POST /v1/events/batch`: up to 1,000 sends in one commit, each with a result of its own.

An item whose key or payload is out of bounds has its own 400, like any other refusal; what is wrong
with the body as a whole refuses the batch."""

from __future__ import annotations

import asyncio
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
#: A larger body is decoded on a thread.
IN_THREAD_BYTES: Final = 256 << 10
#: Payloads and schemas of the triggers in a reply, as on a page of a list.
MAX_TRIGGERS_BYTES: Final = 8 << 20

Outcome = TriggerOutcome | HeldOutcome | NarrowsError


class _KeptItem(msgspec.Struct, omit_defaults=True):
    """What an Idempotency-Key keeps of one result: a trigger's id, or the rendered rest."""

    status: int
    trigger_id: str | None = None
    result: Any = None


async def send_batch(call: Call) -> Reply:
    """Send up to 1,000 events, each with a result of its own."""
    text = await call.body()
    if len(text) > IN_THREAD_BYTES:
        project_id, checked = await asyncio.to_thread(_read, text)
    else:
        project_id, checked = _read(text)
    operation = SendBatch(
        actor=call.credential.actor,
        project_id=await call.project(project_id),
        entropy=call.entropy(),
        events=tuple(event for event in checked if isinstance(event, BatchEvent)),
    )

    def keep(outcomes: tuple[Outcome, ...]) -> Kept:
        return Kept(status=200, reply=encode([_kept(each) for each in _merge(checked, outcomes)]).decode())

    outcome = await idempotency.perform(call, operation, keep)
    if isinstance(outcome, Replayed):
        return await _replay(call, outcome)
    results = _Results(call)
    for each in _merge(checked, outcome):
        await results.add(each)
    return results.reply()


def _read(text: bytes) -> tuple[str | None, list[BatchEvent | Refusal]]:
    """The project that the body names, and its items, checked. Megabytes take long enough to be read
    on a thread: meanwhile the event loop answers others."""
    body = bodies.parse(text, bodies.BATCH)
    if len(body.events) > MAX_EVENTS:
        raise InvalidRequest(f"The batch has {len(body.events)} events; send at most {MAX_EVENTS}.")
    if count_members(text, MAX_MEMBERS) > MAX_MEMBERS:
        raise InvalidRequest(f"The batch has over {MAX_MEMBERS:,} members; send a smaller one.")
    return body.project_id, [_check(item) for item in body.events]


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


class _Results:
    """The results of a reply, in order. Beyond MAX_TRIGGERS_BYTES the payloads and schemas of the
    remaining triggers are left out, and not even loaded: a thousand of them could be a gigabyte."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._results: list[Any] = []
        self._bytes = 0
        self._left_out = False

    async def add(self, outcome: Outcome) -> None:
        if not isinstance(outcome, TriggerOutcome):
            self._results.append(_without_trigger(outcome))
            return
        shown = render.trigger(outcome.trigger._replace(request_payload=None, response_payload=None))
        if not self._left_out:
            whole = await replies.trigger_message(self._call.service, outcome.trigger)
            self._bytes += sum(len(bytes(payload)) for payload in _payloads(whole))
            self._left_out = self._bytes > MAX_TRIGGERS_BYTES
            shown = shown if self._left_out else whole
        self._results.append(messages.BatchItemResult(status=outcome.status, trigger=shown))

    def add_kept(self, result: Any) -> None:
        """A result that an Idempotency-Key has kept as it was."""
        self._results.append(result)

    def reply(self) -> Reply:
        return 200, encode(
            messages.BatchResult(results=self._results, payloads_left_out=self._left_out or None)
        )


def _payloads(shown: messages.Trigger) -> list[msgspec.Raw]:
    """What of a trigger may be large."""
    fields = (shown.request_payload, shown.response_payload, shown.expected_schema)
    return [field for field in fields if isinstance(field, msgspec.Raw)]


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
    results = _Results(call)
    for item in msgspec.json.decode(record.reply or "[]", type=list[_KeptItem]):
        if item.trigger_id is None:
            results.add_kept(item.result)
            continue
        again: Outcome
        try:
            found = await call.service.read(
                reads.GetTriggerById(project_id=record.project_id, trigger_id=item.trigger_id)
            )
            again = TriggerOutcome(found, item.status)
        except NotFound as error:
            again = error
        await results.add(again)
    call.extra_headers.append(idempotency.REPLAYED)
    return results.reply()
