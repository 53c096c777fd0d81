"""Sending events: by key, by id, to a callback URL, in a batch; and what happens to held events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from narrows.core import triggers as rules
from narrows.core.records import HeldEvent, Trigger, UnmatchedEvent
from narrows.core.states import FactKind, HeldStatus, TriggerStatus
from narrows.errors import InvalidRequest, NotFound, Refusal
from narrows.operations.base import (
    AnsweredOperation,
    Answers,
    HeldOutcome,
    ProjectOperation,
    Question,
    TriggerOutcome,
)
from narrows.operations.delivery import Event, deliver, schema_question, send_by_key
from narrows.operations.triggers import find, touch_of
from narrows.storage.lookups import Touch
from narrows.storage.operation import Undecided
from narrows.storage.transaction import Transaction


def event_touches(
    project_id: str, event_key: str, hold_secs: int | None, event_id: str | None
) -> list[Touch]:
    """What an event by key touches: more only where it may be held or carries an event_id."""
    touches: list[Touch] = [("triggers_by_key", project_id, event_key)]
    if hold_secs is not None:
        touches += [
            ("held_tally_by_key", project_id, event_key),
            ("counters_by_project", project_id),
            ("projects_by_id", project_id),
        ]
    if event_id is not None:
        touches.append(("held_by_event_id", project_id, event_key, event_id))
    return touches


@dataclass(frozen=True, slots=True, kw_only=True)
class SendEvent(AnsweredOperation):
    """Send an event to the waiting trigger under `event_key`, or to exactly `trigger_id`.

    `payload` is JSON text, None where there is none. With `hold_secs` it is held if nothing waits.
    Raises NotFound, Conflict (settled), SchemaMismatch, LimitReached.
    """

    payload: str | None
    event_key: str | None = None
    trigger_id: str | None = None
    hold_secs: int | None = None
    event_id: str | None = None

    @property
    def size_bytes(self) -> int:
        return 0 if self.payload is None else len(self.payload)

    def touches(self) -> list[Touch]:
        if self.trigger_id is not None:
            return [*self.credential(), touch_of(self.project_id, None, self.trigger_id)]
        key = self.event_key or ""
        return [*self.credential(), *event_touches(self.project_id, key, self.hold_secs, self.event_id)]

    def apply(self, tx: Transaction) -> TriggerOutcome | HeldOutcome:
        self.authorize(tx)
        if self.trigger_id is None:
            event = Event(
                self.project_id,
                self.event_key or "",
                self.payload,
                self.hold_secs,
                self.event_id,
                self.actor.label,
            )
            return send_by_key(tx, event, self.entropy, self.answers)
        if self.hold_secs is not None or self.event_id is not None:
            raise InvalidRequest("hold_secs and event_id belong to a send by key; leave them out by id.")
        trigger = find(tx, self.project_id, None, self.trigger_id)
        settled = deliver(
            tx,
            trigger,
            self.payload,
            sent_by=self.actor.label,
            entropy=self.entropy,
            answers=self.answers,
        )
        return TriggerOutcome(settled, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendToCallback:
    """Send an event to the trigger that a callback URL's token (by its hash) is bound to.

    The token is the credential and names the project. Raises NotFound, Conflict, SchemaMismatch.
    """

    background: ClassVar[bool] = False

    token_hash: str
    payload: str | None
    entropy: int
    answers: Answers

    @property
    def size_bytes(self) -> int:
        return 0 if self.payload is None else len(self.payload)

    def answered(self, answers: Answers) -> SendToCallback:
        return replace(self, answers={**self.answers, **answers})

    def touches(self) -> list[Touch]:
        return [("callback_urls_by_hash", self.token_hash)]

    def apply(self, tx: Transaction) -> TriggerOutcome:
        url = tx.callback_url(self.token_hash)
        trigger = None if url is None else tx.trigger(url.project_id, url.trigger_id)
        if url is None or trigger is None:
            raise NotFound("This callback URL is unknown. Its wait may be gone; ask for a new one.")
        settled = deliver(
            tx,
            trigger,
            self.payload,
            sent_by=f"callback:{url.id}",
            entropy=self.entropy,
            answers=self.answers,
        )
        return TriggerOutcome(settled, 200)


class BatchEvent(NamedTuple):
    event_key: str
    payload: str | None
    hold_secs: int | None = None
    event_id: str | None = None


BatchOutcome = tuple[TriggerOutcome | HeldOutcome | Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendBatch(AnsweredOperation):
    """Send many events by key in one commit. Items are independent and come in order; the outcome
    holds one entry per item, a Refusal where the item alone would have been refused."""

    events: tuple[BatchEvent, ...]

    @property
    def size_bytes(self) -> int:
        return sum(len(event.payload) for event in self.events if event.payload is not None)

    def touches(self) -> list[Touch]:
        touches = self.credential()
        for event in self.events:
            touches += event_touches(self.project_id, event.event_key, event.hold_secs, event.event_id)
        return touches

    def apply(self, tx: Transaction) -> BatchOutcome:
        self.authorize(tx)
        if questions := self._questions(tx):
            raise Undecided(questions)
        return tuple(self._send(tx, number, event) for number, event in enumerate(self.events))

    def _questions(self, tx: Transaction) -> list[Question]:
        """Everything that must be answered outside, asked before anything is saved."""
        questions = []
        for event in self.events:
            trigger = tx.newest_trigger(self.project_id, event.event_key)
            if trigger is None:
                continue
            if rules.is_waiting(trigger):
                question = schema_question(trigger, event.payload)
            else:
                question = _stored_payload_question(trigger, event)
            if question is not None and question not in self.answers:
                questions.append(question)
        return questions

    def _send(self, tx: Transaction, number: int, item: BatchEvent) -> TriggerOutcome | HeldOutcome | Refusal:
        event = Event(
            self.project_id,
            item.event_key,
            item.payload,
            item.hold_secs,
            item.event_id,
            self.actor.label,
        )
        before = tx.changes
        try:
            return send_by_key(tx, event, self.entropy + number, self.answers, at_once=True)
        except Refusal as refusal:
            if tx.changes != before:
                raise RuntimeError("a refused item of a batch had saved something") from refusal
            return refusal


def _stored_payload_question(trigger: Trigger, event: BatchEvent) -> Question | None:
    """Is this a resend of a payload that has a row of its own? Only a look at that row can tell."""
    if (
        event.hold_secs is None
        and event.payload is not None
        and trigger.status == TriggerStatus.RECEIVED
        and trigger.response_payload_id is not None
    ):
        return Question("equal", trigger.project_id, trigger.id, event.payload)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteHeldEvent(ProjectOperation):
    """Discard a held event by its id. Raises NotFound where it is not held (any more)."""

    held_id: str

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("held_by_id", self.project_id, self.held_id)]

    def apply(self, tx: Transaction) -> HeldEvent:
        self.authorize(tx)
        event = tx.held_event(self.project_id, self.held_id)
        if event is None or event.status != HeldStatus.HELD:
            raise NotFound(f"No event is held under the id {self.held_id}; it may have been delivered.")
        _discard(tx, event, FactKind.EVENT_DISCARDED, self.actor.label, self.entropy)
        return event


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireHeldEvents:
    """Delete what is past `held_until` among `ids` (project_id, held_id); answers how many."""

    background: ClassVar[bool] = True

    ids: tuple[tuple[str, str], ...]
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [("held_by_id", *key) for key in self.ids]

    def apply(self, tx: Transaction) -> int:
        expired = 0
        for key in self.ids:
            event = tx.held_event(*key)
            if event is not None and event.held_until <= tx.wall:
                _discard(tx, event, FactKind.EVENT_EXPIRED, "engine", self.entropy)
                expired += 1
        return expired


def _discard(tx: Transaction, event: HeldEvent, kind: FactKind, actor: str, entropy: int) -> None:
    tx.delete(event)
    tx.release_payload(event.project_id, event.payload_id)
    if event.status == HeldStatus.HELD:
        tx.record_fact(kind, event.project_id, event.id, actor, entropy)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUnmatched:
    """Write what arrived and settled nothing; off the path of the sends that it speaks of."""

    background: ClassVar[bool] = True

    events: tuple[UnmatchedEvent, ...]

    @property
    def size_bytes(self) -> int:
        return 200 * len(self.events)

    def touches(self) -> list[Touch]:
        return []

    def apply(self, tx: Transaction) -> int:
        for event in self.events:
            tx.save(event)
        return len(self.events)
