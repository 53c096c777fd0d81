"""The role that lets held events go when their time is over: those that no wait ever took, and
those that were delivered and stayed only to refuse a duplicate of their `event_id`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from narrows.core.records import NEVER
from narrows.engine.loop import Role, earliest_due
from narrows.operations.events import ExpireHeldEvents
from narrows.operations.reads.due import DueHeldEvents

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

EVENTS_AN_OPERATION: Final = 500
PAUSE_US: Final = 100_000


class ExpireHeldEventsRole(Role):
    """Deletes held events at `held_until`. An event that is overdue is never delivered, so this may
    be late without harm."""

    name = "expire held events"

    def __init__(self, service: Service) -> None:
        self._service = service

    def wakes(self, committed: Committed) -> int | None:
        return earliest_due((event.held_until for event in committed.held_events), committed, "held events")

    async def round(self) -> int | None:
        rows = await self._service.read(DueHeldEvents(until=NEVER, limit=EVENTS_AN_OPERATION))
        now = self._service.clock.now()
        grace_us = self._service.members.grace_us
        ours = [(at + grace_us(held_id), project_id, held_id) for at, project_id, held_id in rows]
        ids = tuple((project_id, held_id) for at, project_id, held_id in ours if at <= now)
        if ids:
            expired = await self._service.perform(ExpireHeldEvents(ids=ids, entropy=self._service.entropy()))
            if expired < len(ids):
                return now + PAUSE_US  # another was faster, or the clock here is ahead
        if len(ids) == EVENTS_AN_OPERATION:
            return now
        return min((at for at, _, _ in ours if at > now), default=None)
