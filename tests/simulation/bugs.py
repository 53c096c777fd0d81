"""Bugs that systems of this kind have had, planted from outside: the simulation must find each.

A plant replaces a function of the product for the length of a `with`; the product itself knows
nothing of it. The numbers are those of the list in `RELIABILITY.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from narrows.core import states
from narrows.core import triggers as rules
from narrows.core.records import Trigger
from narrows.core.states import FactKind, HeldStatus, TriggerStatus
from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.feed import Feed
from narrows.errors import Conflict
from narrows.operations import delivery, triggers
from narrows.operations.base import ENGINE, HeldOutcome
from narrows.operations.events import SendEvent
from narrows.operations.prefix import SendPrefixChunk
from narrows.operations.purge import SetMark
from narrows.operations.reads import listing, paging
from narrows.operations.service import Service
from narrows.operations.triggers import ExpireTriggers, OpenTrigger
from narrows.storage.statements import for_sqlite
from narrows.storage.transaction import Transaction
from narrows.storage.writer import Result, Writer

Plant = Callable[[], contextlib.AbstractContextManager[None]]
BUGS: dict[str, Plant] = {}


def bug(plant: Callable[[Planting], None]) -> Callable[[Planting], None]:
    """Name a plant: its function replaces things and the table gets a context manager."""

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        planting = Planting()
        try:
            plant(planting)
            yield
        finally:
            planting.undo()

    BUGS[plant.__name__] = planted
    return plant


class Planting:
    """Replaced attributes and statements, and how to put them back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def replace(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute; returns what it was."""
        before = getattr(owner, name)
        setattr(owner, name, value)
        self._undo.append(lambda: setattr(owner, name, before))
        return before

    def statement(self, name: str, old: str, new: str) -> None:
        """Change a part of a named statement."""
        statements = for_sqlite()
        before = statements[name]
        if old not in before:
            raise AssertionError(f"the statement {name} has no {old!r} any more: mend the plant")
        statements[name] = before.replace(old, new)
        self._undo.append(lambda: statements.__setitem__(name, before))

    def any_transition(self) -> None:
        """Take away the two walls that would stop a settled trigger from being settled again."""
        after = {
            FactKind.TRIGGER_RECEIVED: TriggerStatus.RECEIVED,
            FactKind.TRIGGER_TIMED_OUT: TriggerStatus.TIMED_OUT,
        }
        strict = states.next_status
        self.replace(rules, "next_status", lambda status, kind: after.get(kind) or strict(status, kind))
        self.statement("settle_triggers", "and triggers.status = 'waiting'", "")

    def at_the_end(self, step: Callable[[], object]) -> None:
        self._undo.append(step)

    def undo(self) -> None:
        for step in reversed(self._undo):
            step()


@bug
def check_then_register(planting: Planting) -> None:
    """1. A wait does not see an event that came since it looked: here, in the same commit."""
    strict = Transaction.held_events

    def blind(self: Transaction, project_id: str, event_key: str) -> list[Any]:
        stored = self._stored
        return [
            event
            for event in strict(self, project_id, event_key)
            if (event.project_id, event.id) in stored[type(event)]
        ]

    planting.replace(Transaction, "held_events", blind)


@bug
def early_event_lost(planting: Planting) -> None:
    """2. An event before its wait is answered as held and is not kept: here, if it has no payload."""
    strict = delivery._hold

    def careless(tx: Transaction, event: Any, entropy: int) -> HeldOutcome:
        outcome = strict(tx, event, entropy)
        if event.payload is None:
            tx.delete(outcome.held)
        return outcome

    planting.replace(delivery, "_hold", careless)


@bug
def stale_timer(planting: Planting) -> None:
    """3. The timer of before an extension still fires, and nobody asks whether the time has come."""
    planting.replace(ExpireTriggersRole, "wakes", _deaf(to_all=False))

    def apply(self: ExpireTriggers, tx: Transaction) -> int:
        found = [trigger for key in self.ids if (trigger := tx.trigger(*key)) and rules.is_waiting(trigger)]
        for trigger in found:
            timed_out = rules.time_out(trigger, tx.now)
            tx.advance(timed_out, FactKind.TRIGGER_TIMED_OUT, ENGINE.label, self.entropy)
        return len(found)

    planting.replace(ExpireTriggers, "apply", apply)


def _deaf(*, to_all: bool) -> Any:
    """The role does not hear of triggers that were extended, or of none at all."""
    strict = ExpireTriggersRole.wakes

    def wakes(self: ExpireTriggersRole, committed: Any) -> int | None:
        heard = (each for each in committed.triggers if each.version == 1 or each.settled_at is not None)
        return strict(self, committed._replace(triggers=() if to_all else tuple(heard)))

    return wakes


@bug
def taken_and_resolved_apart(planting: Planting) -> None:
    """5. An event is taken in one commit and its wait resolved in the next."""
    taken: dict[str, Any] = {}
    strict = Service.perform

    def take(tx: Transaction, trigger: Trigger, held: Any, entropy: int) -> Trigger:
        if held.event_id is None:
            tx.delete(held)
        else:
            tx.save(held._replace(status=HeldStatus.DELIVERED, trigger_id=trigger.id, payload=None))
        taken[trigger.id] = held
        return trigger

    async def perform(self: Service, operation: Any) -> Any:
        outcome = await strict(self, operation)
        held = taken.pop(outcome.trigger.id, None) if isinstance(operation, OpenTrigger) else None
        if held is None:
            return outcome
        send = SendEvent(
            actor=ENGINE, project_id=operation.project_id, entropy=self.entropy(), payload=held.payload,
            trigger_id=outcome.trigger.id,
        )  # fmt: skip
        return await strict(self, send)

    planting.replace(triggers, "take", take)
    planting.replace(Service, "perform", perform)


@bug
def lost_wake_up(planting: Planting) -> None:
    """6. The listener is gone, and nothing but the slow poll is behind it."""
    planting.replace(ExpireTriggersRole, "wakes", _deaf(to_all=True))


@bug
def time_out_overwrites(planting: Planting) -> None:
    """7. The time-out does not ask for the status and wipes an event that was accepted before."""
    planting.any_transition()
    open_to_it = (TriggerStatus.WAITING, TriggerStatus.RECEIVED)
    strict = rules.time_out

    def wipe(trigger: Trigger, now: int) -> Trigger:
        return strict(trigger, now)._replace(
            received_at=None, response_payload=None, response_payload_id=None
        )

    def time_out_overdue(self: Transaction, entropy: int) -> None:
        for trigger in tuple(self._records[Trigger].values()):
            if trigger.status in open_to_it and trigger.expires_at <= self.wall:
                self.advance(*rules.come_due(trigger, self.now), ENGINE.label, entropy)

    planting.replace(rules, "time_out", wipe)
    planting.replace(Transaction, "time_out_overdue", time_out_overdue)


@bug
def two_sends_succeed(planting: Planting) -> None:
    """9. Two sends are both accepted, and the last payload wins."""
    planting.any_transition()
    planting.replace(delivery, "check_open", lambda tx, trigger: None)


@bug
def key_used_up(planting: Planting) -> None:
    """13. A key cannot be waited on again before its settled trigger is purged."""
    strict = OpenTrigger.apply

    def apply(self: OpenTrigger, tx: Transaction) -> Any:
        if tx.newest_trigger(self.project_id, self.event_key) is not None and self.if_waiting == "refuse":
            raise Conflict("The key has been used.")
        return strict(self, tx)

    planting.replace(OpenTrigger, "apply", apply)


@bug
def tenants_collide(planting: Planting) -> None:
    """13. A key of one tenant is found by another: here, when both are in one commit."""
    strict = Transaction.newest_trigger

    def newest(self: Transaction, project_id: str, event_key: str) -> Trigger | None:
        own = strict(self, project_id, event_key)
        if own is not None:
            return own
        others = [found for (_, key), found in sorted(self._newest.items()) if key == event_key]
        return next((each for each in self._records[Trigger].values() if each.id in others), None)

    planting.replace(Transaction, "newest_trigger", newest)


@bug
def null_is_time_out(planting: Planting) -> None:
    """14. A time-out is told by a null payload, so that a null event is a time-out."""
    strict = rules.receive

    def receive(trigger: Trigger, payload: str | None, payload_id: str | None, by: str, now: int) -> Trigger:
        settled = strict(trigger, payload, payload_id, by, now)
        if payload != "null":
            return settled
        return settled._replace(status=TriggerStatus.TIMED_OUT, received_at=None, error="timed out")

    planting.replace(rules, "receive", receive)


@bug
def rolled_back_and_reported(planting: Planting) -> None:
    """15. A batch is rolled back and still answered with what it would have done."""
    last: list[Any] = []
    strict = Writer._apply

    def apply(self: Writer, tx: Transaction, operation: Any) -> Any:
        outcome = strict(self, tx, operation)
        last.append(outcome)
        return outcome

    def all_failed(self: Writer, batch: Any, failure: Any) -> Result:
        return Result(last[-len(batch) :], None)

    planting.replace(Writer, "_apply", apply)
    planting.replace(Writer, "_all_failed", all_failed)


@bug
def cursor_on_time_alone(planting: Planting) -> None:
    """16. A cursor is a time, and rows with the same time are skipped at a page's edge."""
    strict = paging.bound_of

    def to_the_millisecond(cursor: str | None) -> str:
        return strict(cursor) if cursor is None else f"{cursor[:14]}7000-8000-000000000000"

    planting.replace(listing, "bound_of", to_the_millisecond)


@bug
def change_never_seen(planting: Planting) -> None:
    """17. A stream subscribes some time after its first read; a change in between is never seen."""
    strict = Feed.add

    def add(self: Feed, watch: Any) -> None:
        asyncio.get_running_loop().call_later(0.005, strict, self, watch)

    planting.replace(Feed, "add", add)
    planting.replace(Feed, "remove", lambda self, watch: None)


@bug
def purge_takes_what_is_needed(planting: Planting) -> None:
    """22. Purge takes the trigger of a run that has not ended."""
    planting.replace(Transaction, "root", lambda self, project_id, root_id: None)
    for name in ("settled_triggers", "old_triggers"):
        planting.statement(name, "r.ended_at is null", "false")


@bug
def prefix_stops_at_its_first_chunk(planting: Planting) -> None:
    """A prefix send says that it resolved all, and has settled only some of them."""
    strict = SendPrefixChunk.apply

    def apply(self: SendPrefixChunk, tx: Transaction) -> Any:
        outcome = strict(self, tx)
        counted = outcome.progress._replace(resolved=self.progress.resolved + len(self.ids))
        return outcome._replace(progress=counted)

    planting.replace(SendPrefixChunk, "apply", apply)


@bug
def mark_runs_ahead(planting: Planting) -> None:
    """The persisted lower bound passes over a wait that is still open; a restart never finds it."""

    async def move(self: ExpireTriggersRole) -> None:
        ahead = self._clock.now() + 60_000_000
        await self._service.perform(SetMark(name="expire", value=ahead))

    planting.replace(ExpireTriggersRole, "_move_mark", move)


@bug
def timers_begin_late(planting: Planting) -> None:
    """After a start the time-outs of its first second wait for a first look around that takes a second."""
    strict = ExpireTriggersRole._begin

    async def begin(self: ExpireTriggersRole) -> None:
        await asyncio.sleep(1)
        await strict(self)

    planting.replace(ExpireTriggersRole, "_begin", begin)
