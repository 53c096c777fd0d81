"""Opening, canceling, extending and timing out a trigger, and its callback URLs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from narrows.core import triggers as rules
from narrows.core.payloads import INLINE_PAYLOAD_BYTES
from narrows.core.records import CallbackUrl, HeldEvent, Trigger
from narrows.core.states import FactKind, HeldStatus, TriggerStatus, TriggerType
from narrows.errors import Conflict, LimitReached, NotFound
from narrows.operations.base import (
    AnsweredOperation,
    ProjectOperation,
    Question,
    TriggerOutcome,
    check_project,
)
from narrows.operations.delivery import receive
from narrows.storage.lookups import Touch, TriggerTag
from narrows.storage.transaction import Transaction
from narrows.storage.writer import Undecided


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTrigger(AnsweredOperation):
    """Open a client's wait. `tags` and `expected_schema` are JSON texts; `if_waiting` says what to do
    when the key is waiting already. A held event settles the wait in this very commit.

    Raises Conflict (the key is waiting), LimitReached, NotFound (the project).
    """

    event_key: str
    timeout_secs: int
    request_payload: str | None = None
    name: str | None = None
    tags: str | None = None
    expected_schema: str | None = None
    callback_token_hash: str | None = None
    if_waiting: Literal["refuse", "join"] = "refuse"

    @property
    def size_bytes(self) -> int:
        return len(self.request_payload or "") + len(self.expected_schema or "")

    def touches(self) -> list[Touch]:
        key = (self.project_id, self.event_key)
        return [
            *self.credential(),
            ("projects_by_id", self.project_id),
            ("counters_by_project", self.project_id),
            ("triggers_by_key", *key),
            ("held_by_key", *key),
        ]

    def apply(self, tx: Transaction) -> TriggerOutcome:
        self.authorize(tx)
        check_project(tx, self.project_id)
        newest = tx.newest_trigger(self.project_id, self.event_key)
        if newest is not None and rules.is_waiting(newest):
            return self._meet(tx, newest)
        if tx.waiting_count(self.project_id) >= tx.limits.waiting_per_project:
            raise LimitReached(
                f"The project has {tx.limits.waiting_per_project} waits open, the most allowed.",
                retry_after_secs=60,
            )
        held = self._first_fitting(tx)
        trigger = self._open(tx, 1 if newest is None else newest.ordinal + 1)
        if held is not None:
            trigger = self._take(tx, trigger, held)
        return TriggerOutcome(trigger, 201)

    def _meet(self, tx: Transaction, waiting: Trigger) -> TriggerOutcome:
        if self.if_waiting != "join":
            raise Conflict(
                f"A wait is open already under the key {self.event_key!r} (trigger {waiting.id}). "
                'Join it with "if_waiting": "join", cancel it, or take another key.'
            )
        if self.callback_token_hash is not None:
            save_callback_url(tx, waiting, self.callback_token_hash, self.actor.label, self.entropy)
        return TriggerOutcome(waiting, 200)

    def _first_fitting(self, tx: Transaction) -> HeldEvent | None:
        """First come, first delivered; one that does not fit the schema stays held."""
        events = tx.held_events(self.project_id, self.event_key)
        if self.expected_schema is None or not events:
            return events[0] if events else None
        questions = [Question("fits", self.project_id, event.id, self.expected_schema) for event in events]
        if unanswered := [question for question in questions if question not in self.answers]:
            raise Undecided(unanswered)
        for event, question in zip(events, questions, strict=True):
            if not self.answers[question]:
                return event
        return None

    def _open(self, tx: Transaction, ordinal: int) -> Trigger:
        trigger = rules.new_wait(
            project_id=self.project_id,
            trigger_id=tx.new_id(self.entropy),
            event_key=self.event_key,
            ordinal=ordinal,
            timeout_secs=self.timeout_secs,
            now=tx.now,
            opened_by=self.actor.label,
        )
        if self.request_payload is not None or self.expected_schema is not None or self.name or self.tags:
            trigger = self._attach(tx, trigger)
        trigger = tx.advance(trigger, FactKind.TRIGGER_OPENED, self.actor.label, self.entropy)
        if self.callback_token_hash is not None:
            save_callback_url(tx, trigger, self.callback_token_hash, self.actor.label, self.entropy)
        return trigger

    def _attach(self, tx: Transaction, trigger: Trigger) -> Trigger:
        payload_id = schema_id = None
        if self.request_payload is not None and len(self.request_payload) > INLINE_PAYLOAD_BYTES:
            payload_id = tx.save_payload(self.project_id, self.request_payload, self.entropy)
        if self.expected_schema is not None:
            schema_id = tx.save_payload(self.project_id, self.expected_schema, self.entropy)
        for name, value in tag_items(self.tags):
            tx.save(TriggerTag(self.project_id, name, value, trigger.id))
        return trigger._replace(
            name=self.name,
            tags=self.tags,
            request_payload=self.request_payload,
            request_payload_id=payload_id,
            expected_schema_id=schema_id,
        )

    def _take(self, tx: Transaction, trigger: Trigger, held: HeldEvent) -> Trigger:
        sent_by = held.sent_by or "engine"
        if held.event_id is None:
            tx.delete(held)
        else:
            tx.save(
                held._replace(
                    status=HeldStatus.DELIVERED, trigger_id=trigger.id, payload=None, payload_id=None
                )
            )
        tx.record_fact(FactKind.EVENT_DELIVERED, held.project_id, held.id, sent_by, self.entropy)
        return receive(tx, trigger, held.payload, sent_by, self.entropy, held.payload_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTrigger(ProjectOperation):
    """Cancel a waiting trigger, by key (the waiting, else the newest) or by id.

    Raises NotFound, or Conflict if it is settled.
    """

    event_key: str | None = None
    trigger_id: str | None = None
    reason: str = rules.CANCELED_BY_USER

    def touches(self) -> list[Touch]:
        return [*self.credential(), touch_of(self.project_id, self.event_key, self.trigger_id)]

    def apply(self, tx: Transaction) -> TriggerOutcome:
        self.authorize(tx)
        trigger = find(tx, self.project_id, self.event_key, self.trigger_id)
        _check_waiting(trigger, "cancel")
        changed = rules.cancel(trigger, self.reason, tx.now)
        canceled = tx.advance(changed, FactKind.TRIGGER_CANCELED, self.actor.label, self.entropy)
        return TriggerOutcome(canceled, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendTrigger(ProjectOperation):
    """Give a waiting trigger a new time-out of `timeout_secs`, counted from now; 0 takes it away.

    Raises NotFound, or Conflict if it is settled.
    """

    trigger_id: str
    timeout_secs: int

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("triggers_by_id", self.project_id, self.trigger_id)]

    def apply(self, tx: Transaction) -> TriggerOutcome:
        self.authorize(tx)
        trigger = find(tx, self.project_id, None, self.trigger_id)
        _check_waiting(trigger, "extend")
        changed = rules.extend(trigger, self.timeout_secs, tx.now)
        extended = tx.advance(changed, FactKind.TRIGGER_EXTENDED, self.actor.label, self.entropy)
        return TriggerOutcome(extended, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCallbackUrl(ProjectOperation):
    """Bind a further secret address, known by its token's hash, to a waiting trigger."""

    trigger_id: str
    token_hash: str

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("triggers_by_id", self.project_id, self.trigger_id)]

    def apply(self, tx: Transaction) -> CallbackUrl:
        self.authorize(tx)
        trigger = find(tx, self.project_id, None, self.trigger_id)
        _check_waiting(trigger, "make a callback URL for")
        return save_callback_url(tx, trigger, self.token_hash, self.actor.label, self.entropy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireTriggers:
    """Time out what is due among `ids` (project_id, trigger_id). Every transaction times out the
    overdue triggers that it loads before any operation looks, so that touching them is all there
    is to do; answers how many of them its time has settled now."""

    background: ClassVar[bool] = True

    ids: tuple[tuple[str, str], ...]
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [("triggers_by_id", *key) for key in self.ids]

    def apply(self, tx: Transaction) -> int:
        found = (tx.trigger(*key) for key in self.ids)
        return sum(1 for trigger in found if trigger and _its_time_settled(trigger))


def _its_time_settled(trigger: Trigger) -> bool:
    is_sleep = trigger.trigger_type == TriggerType.SLEEP
    return trigger.status == (TriggerStatus.RECEIVED if is_sleep else TriggerStatus.TIMED_OUT)


def find(tx: Transaction, project_id: str, event_key: str | None, trigger_id: str | None) -> Trigger:
    """The trigger that is meant: by id exactly that one, by key the waiting, else the newest."""
    if trigger_id is not None:
        trigger = tx.trigger(project_id, trigger_id)
    else:
        trigger = tx.newest_trigger(project_id, event_key or "")
    if trigger is None:
        name = f"the id {trigger_id}" if trigger_id is not None else f"the key {event_key!r}"
        raise NotFound(
            f"There is no trigger under {name}. List what waits with GET /v1/events?status=waiting."
        )
    return trigger


def touch_of(project_id: str, event_key: str | None, trigger_id: str | None) -> Touch:
    if trigger_id is not None:
        return ("triggers_by_id", project_id, trigger_id)
    return ("triggers_by_key", project_id, event_key or "")


def tag_items(tags: str | None) -> list[tuple[str, str]]:
    """The tags of a trigger's JSON text, as (name, value)."""
    return [] if tags is None else list(json.loads(tags).items())


def save_callback_url(
    tx: Transaction, trigger: Trigger, token_hash: str, actor: str, entropy: int
) -> CallbackUrl:
    url = CallbackUrl(token_hash, tx.new_id(entropy), trigger.project_id, trigger.id, tx.now)
    tx.save(url)
    tx.record_fact(FactKind.CALLBACK_URL_CREATED, trigger.project_id, url.id, actor, entropy)
    return url


def _check_waiting(trigger: Trigger, verb: str) -> None:
    if not rules.is_waiting(trigger):
        raise Conflict(f"The trigger {trigger.id} is already {trigger.status}; there is nothing to {verb}.")
