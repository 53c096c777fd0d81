"""Events that arrived and settled nothing: a bounded buffer in memory, and the role that writes it.

A send must not pay for being remembered, so the service only adds to the buffer; about a second
later the role writes what has gathered, and a graceful stop writes the rest. What does not fit is
dropped and counted, of each project the newest 10,000 are kept, and what is in the buffer when the
process dies is gone: this is help for people, no promise hangs on it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from narrows.core.records import UnmatchedEvent
from narrows.engine.loop import Role
from narrows.operations.events import RecordUnmatched
from narrows.operations.purge import DeleteRows
from narrows.operations.reads.retention import SurplusUnmatched

if TYPE_CHECKING:
    from narrows.operations.service import Service

CAPACITY: Final = 2_000
EVENTS_AN_OPERATION: Final = 500
PAUSE_US: Final = 1_000_000
KEPT_PER_PROJECT: Final = 10_000
SURPLUS_AN_OPERATION: Final = 2 * EVENTS_AN_OPERATION


class UnmatchedBuffer:
    """What waits to be written. `on_first` is called when there is something after nothing."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.dropped = 0
        self.on_first: Callable[[], None] | None = None
        self._capacity = capacity
        self._events: deque[UnmatchedEvent] = deque()
        self._dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: UnmatchedEvent) -> None:
        """Remember an event; over the bound it is dropped and counted."""
        if len(self._events) >= self._capacity:
            self._drop(event)
            return
        self._events.append(event)
        if len(self._events) == 1 and self.on_first is not None:
            self.on_first()

    def take(self, limit: int) -> tuple[UnmatchedEvent, ...]:
        return tuple(self._events.popleft() for _ in range(min(limit, len(self._events))))

    def put_back(self, events: tuple[UnmatchedEvent, ...]) -> None:
        """What could not be written goes to the front again, as far as there is room."""
        room = max(0, self._capacity - len(self._events))
        for event in events[: max(0, len(events) - room)]:
            self._drop(event)
        self._events.extendleft(reversed(events[-room:] if room else ()))

    def dropped_in(self, project_id: str) -> int:
        """How many of a project's events were dropped since the start."""
        return self._dropped[project_id]

    def _drop(self, event: UnmatchedEvent) -> None:
        self.dropped += 1
        self._dropped[event.project_id] += 1


class WriteUnmatchedRole(Role):
    """Writes the buffer about once a second, while there is something in it, and at the stop; keeps the
    newest of each project."""

    name = "write unmatched"

    def __init__(self, service: Service, buffer: UnmatchedBuffer) -> None:
        self._service = service
        self._buffer = buffer
        self._too_many: set[str] = set()
        buffer.on_first = self._on_first

    def _on_first(self) -> None:
        self.nudge(self._service.clock.now() + PAUSE_US)

    async def round(self) -> int | None:
        events = await self._write()
        surplus = await self._delete_surplus({event.project_id for event in events})
        return self._service.clock.now() + PAUSE_US if len(self._buffer) or surplus else None

    async def at_stop(self) -> None:
        while len(self._buffer):
            await self._write()

    async def _write(self) -> tuple[UnmatchedEvent, ...]:
        events = self._buffer.take(EVENTS_AN_OPERATION)
        if events:
            try:
                await self._service.perform(RecordUnmatched(events=events))
            except BaseException:
                self._buffer.put_back(events)
                raise
        return events

    async def _delete_surplus(self, projects: set[str]) -> bool:
        """Keep the newest of each project that was written to; answers whether there is more to do.
        Twice as many go in a round as come, so that a table that is too long becomes short again."""
        self._too_many |= projects
        for project_id in sorted(self._too_many):
            read = SurplusUnmatched(project_id=project_id, kept=KEPT_PER_PROJECT, limit=SURPLUS_AN_OPERATION)
            keys = await self._service.read(read)
            if keys:
                operation = DeleteRows(table="unmatched_events", keys=tuple(map(tuple, keys)), before=0)
                await self._service.perform(operation)
            if len(keys) < SURPLUS_AN_OPERATION:
                self._too_many.discard(project_id)
        return bool(self._too_many)
