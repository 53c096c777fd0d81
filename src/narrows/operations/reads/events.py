"""Events without a wait: those held for the next wait, and those that settled nothing. Newest first."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core.records import HeldEvent, UnmatchedEvent
from narrows.operations.reads.bodies import fitting_events, with_payloads
from narrows.operations.reads.paging import Page, Walk, bound_of, clamped, look, page_of
from narrows.storage.backend import Reader


@dataclass(frozen=True, slots=True)
class ListHeldEvents:
    """What a coming wait would get, with payloads. Delivered and outdated events are left out."""

    project_id: str
    event_key: str | None = None
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[HeldEvent]:
        limit = clamped(self.limit)
        scope = {"project_id": self.project_id, "now": reader.now}
        walk = Walk("list_held_page", "list_held_floor", scope)
        if self.event_key is not None:
            walk = Walk("list_held_key_page", None, scope | {"event_key": self.event_key})
        rows, looked_to = await look(reader, walk, bound_of(self.cursor), limit)
        page = page_of([HeldEvent(*row) for row in rows], [row[1] for row in rows], limit, looked_to)
        fitting = await fitting_events(reader, page.items)
        items = await with_payloads(reader, page.items[:fitting])
        if fitting < len(page.items):
            return Page(items, True, items[-1].id)
        return page._replace(items=items)


@dataclass(frozen=True, slots=True)
class ListUnmatched:
    """What arrived and found no wait."""

    project_id: str
    event_key: str | None = None
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[UnmatchedEvent]:
        limit = clamped(self.limit)
        walk = Walk("list_unmatched_page", None, {"project_id": self.project_id})
        if self.event_key is not None:
            scope = {"project_id": self.project_id, "event_key": self.event_key}
            walk = Walk("list_unmatched_key_page", None, scope)
        rows, looked_to = await look(reader, walk, bound_of(self.cursor), limit)
        return page_of([UnmatchedEvent(*row) for row in rows], [row[1] for row in rows], limit, looked_to)
