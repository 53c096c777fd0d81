"""The role that lets held events go when their time is over: those that no wait ever took, and
those that were delivered and stayed only to refuse a duplicate of their `event_id`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from narrows.core.records import NEVER
from narrows.engine.loop import Role
from narrows.operations.events import ExpireHeldEvents
from narrows.operations.reads.due import DueHeldEvents

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

EVENTS_AN_OPERATION: Final = 500


class ExpireHeldEventsRole(Role):
    """Deletes held events at `held_until`. An event that is overdue is never delivered, so this may
    be late without harm."""

    name = "expire held events"

    def __init__(self, service: Service) -> None:
        self._service = service

    def wakes(self, committed: Committed) -> int | None:
        return min((event.held_until for event in committed.held_events), default=None)

    async def round(self) -> int | None:
        rows = await self._service.read(DueHeldEvents(until=NEVER, limit=EVENTS_AN_OPERATION))
        now = self._service.clock.now()
        ids = tuple((project_id, held_id) for held_until, project_id, held_id in rows if held_until <= now)
        if ids:
            await self._service.perform(ExpireHeldEvents(ids=ids, entropy=self._service.entropy()))
        if len(ids) == EVENTS_AN_OPERATION:
            return now
        return rows[len(ids)][0] if len(ids) < len(rows) else None
