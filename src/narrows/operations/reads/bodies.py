"""Payloads that live in rows of their own: how large they are, and their texts put back into the
triggers and held events that name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from narrows.core.records import HeldEvent, Trigger
from narrows.errors import NotFound
from narrows.operations.reads.paging import MAX_PAGE_BYTES
from narrows.storage.backend import Reader

#: (project id, payload id)
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LoadBodies:
    """The triggers with their payload texts, in one look for all of them."""

    triggers: tuple[Trigger, ...]

    async def run(self, reader: Reader) -> tuple[Trigger, ...]:
        return await with_bodies(reader, self.triggers)


@dataclass(frozen=True, slots=True)
class LoadSchema:
    """The text of an expected schema."""

    project_id: str
    payload_id: str

    async def run(self, reader: Reader) -> str:
        rows = await reader.load("payloads_by_id", [(self.project_id, self.payload_id)])
        if not rows:
            raise NotFound("The expected schema is gone together with its trigger.")
        text: str = rows[0][2]
        return text


async def with_bodies(reader: Reader, triggers: Sequence[Trigger]) -> tuple[Trigger, ...]:
    keys = {key for trigger in triggers for key in _absent(trigger)}
    if not keys:
        return tuple(triggers)
    bodies = await _bodies(reader, keys)
    return tuple(_filled(trigger, bodies) for trigger in triggers)


async def with_payloads(reader: Reader, events: Sequence[HeldEvent]) -> tuple[HeldEvent, ...]:
    keys = {(event.project_id, event.payload_id) for event in events if event.payload_id}
    if not keys:
        return tuple(events)
    bodies = await _bodies(reader, keys)
    return tuple(
        event._replace(payload=bodies.get((event.project_id, event.payload_id)))
        if event.payload_id
        else event
        for event in events
    )


async def fitting_triggers(reader: Reader, triggers: Sequence[Trigger]) -> int:
    """How many of the triggers, from the first, stay within the size of a page; at least one."""
    sizes = await _sizes(reader, {key for trigger in triggers for key in _named(trigger)})
    return _fitting(
        len(trigger.request_payload or "")
        + len(trigger.response_payload or "")
        + sum(sizes.get(key, 0) for key in _named(trigger))
        for trigger in triggers
    )


async def fitting_events(reader: Reader, events: Sequence[HeldEvent]) -> int:
    """The same for held events."""
    keys = {(event.project_id, event.payload_id) for event in events if event.payload_id}
    sizes = await _sizes(reader, keys)
    return _fitting(
        len(event.payload or "") + sizes.get((event.project_id, event.payload_id or ""), 0)
        for event in events
    )


def _fitting(sizes_bytes: Iterable[int]) -> int:
    total = count = 0
    for size in sizes_bytes:
        total += size
        if count and total > MAX_PAGE_BYTES:
            break
        count += 1
    return count


def _named(trigger: Trigger) -> list[_Key]:
    """All payload rows that a reply with this trigger has in it."""
    ids = (trigger.request_payload_id, trigger.response_payload_id, trigger.expected_schema_id)
    return [(trigger.project_id, payload_id) for payload_id in ids if payload_id]


def _absent(trigger: Trigger) -> list[_Key]:
    pairs = (
        (trigger.request_payload_id, trigger.request_payload),
        (trigger.response_payload_id, trigger.response_payload),
    )
    return [(trigger.project_id, payload_id) for payload_id, text in pairs if payload_id and text is None]


def _filled(trigger: Trigger, bodies: dict[_Key, str]) -> Trigger:
    for project_id, payload_id in _absent(trigger):
        text = bodies.get((project_id, payload_id))
        if payload_id == trigger.request_payload_id:
            trigger = trigger._replace(request_payload=text)
        else:
            trigger = trigger._replace(response_payload=text)
    return trigger


async def _bodies(reader: Reader, keys: Iterable[_Key]) -> dict[_Key, str]:
    rows = await reader.load("payloads_by_id", sorted(keys))
    return {(project_id, payload_id): text for project_id, payload_id, text in rows}


async def _sizes(reader: Reader, keys: set[_Key]) -> dict[_Key, int]:
    if not keys:
        return {}
    rows = await reader.load("payload_bytes_by_id", sorted(keys))
    return {(project_id, payload_id): size for project_id, payload_id, size in rows}
