"""Why did a wait fire, or why not? Everything that is known of a key, told as short sentences.

The sentences are for people; programs read the other fields. It only puts together what other reads
find, with bounded looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from narrows.core.records import NEVER, Fact, Trigger, UnmatchedEvent
from narrows.core.states import TriggerStatus
from narrows.operations.reads.bodies import with_bodies
from narrows.operations.reads.events import ListUnmatched
from narrows.operations.reads.near_keys import (
    TRIGGER_KEYS,
    UNMATCHED_KEYS,
    NearKey,
    near_keys,
    sentence_of,
)
from narrows.operations.reads.times import span_of, text_of
from narrows.operations.reads.triggers import Timeline, newest_trigger
from narrows.storage.backend import Reader

_MOST_UNMATCHED: Final = 20
_TOLD_UNMATCHED: Final = 5
_BEST: Final = 5


class Explanation(NamedTuple):
    """`lines` are sentences, most telling first; `unmatched` is newest first."""

    lines: tuple[str, ...]
    trigger: Trigger | None
    near_keys: tuple[str, ...]
    unmatched: tuple[UnmatchedEvent, ...]
    held_count: int


@dataclass(frozen=True, slots=True)
class Explain:
    """What is known of a key: its newest wait, what came for it, what is near to it."""

    project_id: str
    event_key: str

    async def run(self, reader: Reader) -> Explanation:
        trigger = await newest_trigger(reader, self.project_id, self.event_key)
        unmatched = (await ListUnmatched(self.project_id, self.event_key, _MOST_UNMATCHED).run(reader)).items
        scope: dict[str, Any] = {"project_id": self.project_id, "event_key": self.event_key}
        ((held_count, held_until),) = await reader.rows("held_count_of_key", **scope, now=reader.now)
        near = await near_keys(reader, TRIGGER_KEYS, *scope.values())
        astray = await near_keys(reader, UNMATCHED_KEYS, *scope.values())
        facts: list[Fact] = []
        if trigger is not None:
            facts = await Timeline(self.project_id, trigger.id).run(reader)
            (trigger,) = await with_bodies(reader, (trigger,))
        lines = [
            _verdict(self.event_key, trigger, reader.now),
            *_what_came(trigger, unmatched),
            *_what_went_astray(astray),
            *_what_is_held(trigger, held_count, held_until),
            *(sentence_of(each) for each in near[:_BEST]),
            *map(_happening, facts),
        ]
        if trigger is None and len(lines) == 1:
            lines.append(
                "No event for it is known either. The list of unmatched events is bounded and may have "
                "dropped older ones; one that has just come is listed after a moment."
            )
        keys = tuple(each.event_key for each in near[:_BEST])
        return Explanation(tuple(lines), trigger, keys, unmatched, held_count)


def _verdict(event_key: str, trigger: Trigger | None, now: int) -> str:
    """How the newest wait stands."""
    if trigger is None:
        return f"Nothing waits or has waited under {event_key!r}, or it has been purged."
    wait = f"The wait {trigger.id}"
    opened = f"opened at {text_of(trigger.requested_at)}"
    after = span_of((trigger.settled_at or now) - trigger.requested_at)
    if trigger.status == TriggerStatus.WAITING:
        if trigger.expires_at <= now:
            return f"{wait}, {opened}, is overdue since {text_of(trigger.expires_at)} and about to time out."
        if trigger.expires_at == NEVER:
            return f"{wait}, {opened}, has been open for {after} and has no time-out."
        return f"{wait}, {opened}, has been open for {after}; it times out at {text_of(trigger.expires_at)}."
    settled = f"at {text_of(trigger.settled_at or 0)}, {after} after it was opened"
    if trigger.status == TriggerStatus.RECEIVED:
        return f"{wait} received its event {settled}, sent by {trigger.sent_by or 'somebody unknown'}."
    if trigger.status == TriggerStatus.TIMED_OUT:
        return f"{wait} timed out {settled}: {trigger.error or 'no event came in time'}."
    return f"{wait} was canceled {settled}: {trigger.error or 'no reason was given'}."


def _what_came(trigger: Trigger | None, unmatched: Sequence[UnmatchedEvent]) -> Iterator[str]:
    """The events that came for this very key and settled nothing; the newest wait's own first."""
    own = [event for event in unmatched if trigger is not None and event.trigger_id == trigger.id]
    others = [event for event in unmatched if event not in own]
    for event in (*own, *others)[:_TOLD_UNMATCHED]:
        yield _arrival(trigger, event)
    if len(unmatched) > _TOLD_UNMATCHED:
        yield f"{len(unmatched) - _TOLD_UNMATCHED} or more earlier events found no wait either."


def _arrival(trigger: Trigger | None, event: UnmatchedEvent) -> str:
    came = f"An event came at {text_of(event.arrived_at)}"
    if event.reason == "settled" and event.late_us is not None:
        return f"{came}, {span_of(event.late_us)} too late: the wait {event.trigger_id} was settled by then."
    if event.reason == "settled":
        return f"{came}, but the wait {event.trigger_id} was settled by then."
    if event.reason == "schema":
        fault = f": {event.detail.rstrip('.')}" if event.detail else ""
        return f"{came} and the expected schema of the wait {event.trigger_id} refused it{fault}."
    if event.reason == "type":
        return f"{came}, but the trigger {event.trigger_id} takes no events."
    if trigger is not None and event.arrived_at < trigger.requested_at:
        early = span_of(trigger.requested_at - event.arrived_at)
        return f"{came}, {early} before the wait was opened, and was not held; send it with hold_secs."
    return f"{came} and found no wait; send it with hold_secs to have it kept for the next one."


def _what_went_astray(astray: Sequence[NearKey]) -> Iterator[str]:
    """Events that came for a key near to this one."""
    for near in astray[:_BEST]:
        yield (
            f"An event came at {text_of(near.note)} under {near.event_key!r} and settled nothing: "
            f"{near.kinship.reason}."
        )


def _what_is_held(trigger: Trigger | None, held_count: int, held_until: int | None) -> Iterator[str]:
    if not held_count or held_until is None:
        return
    events = "One event is" if held_count == 1 else f"{held_count} events are"
    if trigger is not None and trigger.status == TriggerStatus.WAITING:
        yield f"{events} held for the key but did not fit this wait's expected schema."
    else:
        yield f"{events} held for the next wait under the key, the first until {text_of(held_until)}."


def _happening(fact: Fact) -> str:
    detail = f" {fact.detail}" if fact.detail else ""
    return f"{text_of(fact.at)}: {fact.kind} by {fact.actor or 'somebody unknown'}{detail}."
