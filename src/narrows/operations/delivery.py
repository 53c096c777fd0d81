"""How one event meets one trigger: shared by send, callback, batch and prefix sends."""

from __future__ import annotations

from narrows.core import triggers as rules
from narrows.core.payloads import INLINE_PAYLOAD_BYTES, equal, quickly_equal
from narrows.core.records import HeldEvent, Trigger
from narrows.core.states import OPEN_TO_EVENTS, FactKind, HeldStatus, TriggerStatus
from narrows.errors import Conflict, LimitReached, NotFound, SchemaMismatch
from narrows.operations.base import (
    Answers,
    HeldOutcome,
    Question,
    TriggerOutcome,
    Undelivered,
    check_project,
)
from narrows.storage.operation import Undecided
from narrows.storage.transaction import Transaction

#: How long an event_id refuses duplicates where the send gave no `hold_secs`.
EVENT_ID_SECS = 86_400


def deliver(
    tx: Transaction,
    trigger: Trigger,
    payload: str | None,
    *,
    sent_by: str,
    entropy: int,
    answers: Answers,
    at_once: bool = False,
) -> Trigger:
    """Settle a trigger with an event's payload, or answer it unchanged to an equal resend.

    Raises Conflict, SchemaMismatch, or Undecided (never with `at_once`, which compares payloads on
    the spot). Nothing is saved before all has been asked.
    """
    is_received_event = trigger.status == TriggerStatus.RECEIVED and trigger.trigger_type in OPEN_TO_EVENTS
    if is_received_event and _is_resend(trigger, payload, answers, at_once):
        return trigger
    check_open(tx, trigger)
    check_schema(trigger, payload, answers)
    return receive(tx, trigger, payload, sent_by, entropy)


def receive(
    tx: Transaction,
    trigger: Trigger,
    payload: str | None,
    sent_by: str,
    entropy: int,
    payload_id: str | None = None,
) -> Trigger:
    """The transition itself. A large payload becomes a row of its own, unless it is one already."""
    if payload_id is None and payload is not None and len(payload) > INLINE_PAYLOAD_BYTES:
        payload_id = tx.save_payload(trigger.project_id, payload, entropy)
    changed = rules.receive(trigger, payload, payload_id, sent_by, tx.now)
    return tx.advance(changed, FactKind.TRIGGER_RECEIVED, sent_by, entropy)


def check_open(tx: Transaction, trigger: Trigger) -> None:
    """Raise Conflict, with why as its cause, if no event may settle this trigger."""
    try:
        rules.refuse_event(trigger)
    except Conflict as refusal:
        if trigger.settled_at is None:
            raise refusal from _undelivered("type", trigger)
        raise refusal from _undelivered("settled", trigger, max(0, tx.now - trigger.settled_at))


def _undelivered(reason: str, trigger: Trigger, late_us: int | None = None) -> Undelivered:
    return Undelivered(reason, trigger.project_id, trigger.event_key, trigger.id, late_us)


def schema_question(trigger: Trigger, payload: str | None) -> Question | None:
    if trigger.expected_schema_id is None:
        return None
    return Question("schema", trigger.project_id, trigger.expected_schema_id, payload)


def check_schema(trigger: Trigger, payload: str | None, answers: Answers) -> None:
    """Raise SchemaMismatch if the payload does not fit, Undecided if nobody has looked yet."""
    question = schema_question(trigger, payload)
    if question is None:
        return
    if question not in answers:
        raise Undecided([question])
    if faults := answers[question]:
        raise SchemaMismatch(
            "The payload does not fit the schema that the waiter expects. The wait stays open; "
            "mend the payload and send again.",
            details=faults,
        ) from _undelivered("schema", trigger)


def _is_resend(trigger: Trigger, payload: str | None, answers: Answers, at_once: bool) -> bool:
    if trigger.response_payload_id is None or trigger.response_payload is not None:
        same = quickly_equal(trigger.response_payload, payload)
        if same is not None:
            return same
        if at_once:
            return equal(trigger.response_payload, payload)
    elif payload is None:
        return False
    question = Question("equal", trigger.project_id, trigger.id, payload)
    if question not in answers:
        if at_once:
            # A batch asked before it began; what it could not ask then is told apart by its spelling.
            return False
        raise Undecided([question])
    return bool(answers[question])


# ---- events by key ---------------------------------------------------------------------------


class Event:
    """One event on its way to whoever waits under a key."""

    __slots__ = ("event_id", "event_key", "hold_secs", "payload", "project_id", "sent_by")

    def __init__(
        self,
        project_id: str,
        event_key: str,
        payload: str | None,
        hold_secs: int | None,
        event_id: str | None,
        sent_by: str,
    ) -> None:
        self.project_id = project_id
        self.event_key = event_key
        self.payload = payload
        self.hold_secs = hold_secs
        self.event_id = event_id
        self.sent_by = sent_by


def send_by_key(
    tx: Transaction, event: Event, entropy: int, answers: Answers, at_once: bool = False
) -> TriggerOutcome | HeldOutcome:
    """The rules of `POST /v1/events/{eventKey}/send`."""
    if event.event_id is not None:
        earlier = tx.event_by_event_id(event.project_id, event.event_key, event.event_id)
        if earlier is not None and earlier.held_until > tx.wall:
            return _repeat(tx, earlier)
    trigger = tx.newest_trigger(event.project_id, event.event_key)
    if event.hold_secs is not None and (trigger is None or not rules.is_waiting(trigger)):
        return _hold(tx, event, entropy)
    if trigger is None:
        raise NotFound(
            f"Nothing waits under the key {event.event_key!r}. Check the key, or send with hold_secs to "
            "keep the event for a wait that comes later."
        ) from Undelivered("no_wait", event.project_id, event.event_key, None)
    settled = deliver(
        tx,
        trigger,
        event.payload,
        sent_by=event.sent_by,
        entropy=entropy,
        answers=answers,
        at_once=at_once,
    )
    if event.event_id is not None:
        _remember(tx, event, entropy, HeldStatus.DELIVERED, settled.id)
    return TriggerOutcome(settled, 200)


def _repeat(tx: Transaction, earlier: HeldEvent) -> TriggerOutcome | HeldOutcome:
    """The same event_id again: answered as the first was, and nothing happens."""
    if earlier.status == HeldStatus.HELD:
        return HeldOutcome(earlier)
    trigger = tx.trigger(earlier.project_id, earlier.trigger_id or "")
    if trigger is None:
        raise Conflict("An event with this event_id was delivered before; its trigger has been purged since.")
    return TriggerOutcome(trigger, 200)


def _hold(tx: Transaction, event: Event, entropy: int) -> HeldOutcome:
    check_project(tx, event.project_id)
    if tx.held_count_of_key(event.project_id, event.event_key) >= tx.limits.held_per_key:
        raise LimitReached(
            f"{tx.limits.held_per_key} events are held for this key already. Open a wait for it, or delete some.",
            retry_after_secs=60,
        )
    if tx.held_count(event.project_id) >= tx.limits.held_per_project:
        raise LimitReached(
            f"The project holds {tx.limits.held_per_project} events already. Open waits for them, or delete some.",
            retry_after_secs=60,
        )
    held = _remember(tx, event, entropy, HeldStatus.HELD, None)
    tx.record_fact(FactKind.EVENT_HELD, held.project_id, held.id, event.sent_by, entropy)
    return HeldOutcome(held)


def _remember(
    tx: Transaction, event: Event, entropy: int, status: HeldStatus, trigger_id: str | None
) -> HeldEvent:
    """Keep the event for the next wait or, once delivered, its event_id against duplicates."""
    if event.event_id is not None:
        expired = tx.event_by_event_id(event.project_id, event.event_key, event.event_id)
        if expired is not None:
            tx.delete(expired)
            tx.release_payload(expired.project_id, expired.payload_id)
    payload = event.payload if status == HeldStatus.HELD else None
    payload_id = None
    if payload is not None and len(payload) > INLINE_PAYLOAD_BYTES:
        payload_id = tx.save_payload(event.project_id, payload, entropy)
    held = HeldEvent(
        project_id=event.project_id,
        id=tx.new_id(entropy),
        event_key=event.event_key,
        event_id=event.event_id,
        status=status,
        payload=payload,
        payload_id=payload_id,
        held_at=tx.now,
        held_until=tx.now + (event.hold_secs or EVENT_ID_SECS) * 1_000_000,
        trigger_id=trigger_id,
        sent_by=event.sent_by,
        hops=tx.notes.hops,
    )
    tx.save(held)
    return held
