"""Opening, canceling, extending and timing out a trigger, and its callback URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from narrows.core import triggers as rules
from narrows.core.records import CallbackUrl, Trigger
from narrows.core.states import FactKind, TriggerStatus, TriggerType
from narrows.errors import Conflict, NotFound
from narrows.operations.base import AnsweredOperation, ProjectOperation, TriggerOutcome, check_project
from narrows.operations.opening import (
    Wanted,
    check_free,
    check_room,
    first_fitting,
    open_wait,
    opening_touches,
    save_callback_url,
    take,
)
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


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
    notify_url: str | None = None
    callback_token_hash: str | None = None
    if_waiting: Literal["refuse", "join"] = "refuse"

    @property
    def size_bytes(self) -> int:
        return len(self.request_payload or "") + len(self.expected_schema or "")

    @property
    def _wanted(self) -> Wanted:
        return Wanted(
            self.event_key,
            self.timeout_secs,
            self.request_payload,
            self.expected_schema,
            self.notify_url,
            self.callback_token_hash,
            self.name,
            self.tags,
        )

    def touches(self) -> list[Touch]:
        return [*self.credential(), *opening_touches(self.project_id, (self.event_key,))]

    def apply(self, tx: Transaction) -> TriggerOutcome:
        self.authorize(tx)
        check_project(tx, self.project_id)
        newest = tx.newest_trigger(self.project_id, self.event_key)
        if self.if_waiting == "join" and newest is not None and rules.is_waiting(newest):
            return self._join(tx, newest)
        check_free(tx, self.project_id, self.event_key)
        check_room(tx, self.project_id)
        wanted = self._wanted
        (held,) = first_fitting(tx, self.project_id, (wanted,), self.answers)
        trigger = open_wait(tx, self.project_id, wanted, self.actor.label, self.entropy)
        if held is not None:
            trigger = take(tx, trigger, held, self.entropy)
        return TriggerOutcome(trigger, 201)

    def _join(self, tx: Transaction, waiting: Trigger) -> TriggerOutcome:
        if self.callback_token_hash is not None:
            save_callback_url(tx, waiting, self.callback_token_hash, self.actor.label, self.entropy)
        return TriggerOutcome(waiting, 200)


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
        return [*self.credential(), ("triggers_to_change", self.project_id, self.trigger_id)]

    def apply(self, tx: Transaction) -> TriggerOutcome:
        self.authorize(tx)
        trigger = find(tx, self.project_id, None, self.trigger_id)
        _check_waiting(trigger, "extend")
        changed = rules.extend(trigger, self.timeout_secs, tx.now)
        before = f'{{"timeout_secs_before":{trigger.timeout_secs}}}'
        extended = tx.advance(changed, FactKind.TRIGGER_EXTENDED, self.actor.label, self.entropy, before)
        return TriggerOutcome(extended, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCallbackUrl(ProjectOperation):
    """Bind a further secret address, known by its token's hash, to a waiting trigger."""

    trigger_id: str
    token_hash: str

    def touches(self) -> list[Touch]:
        return [*self.credential(), ("triggers_to_change", self.project_id, self.trigger_id)]

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


def _check_waiting(trigger: Trigger, verb: str) -> None:
    if not rules.is_waiting(trigger):
        raise Conflict(f"The trigger {trigger.id} is already {trigger.status}; there is nothing to {verb}.")
