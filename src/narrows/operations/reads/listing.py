"""The list of triggers with its filters. Each filter with an index walks that index; any other looks
at a bounded number of rows and gives a short page. Not here: pages as such (`paging.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from narrows.core.keys import prefix_end
from narrows.core.records import Trigger
from narrows.operations.reads.bodies import fitting_triggers, with_bodies
from narrows.operations.reads.paging import Page, Walk, bound_of, clamped, look, page_of
from narrows.operations.reads.tags import has_tag, text_of_tag
from narrows.storage.backend import Reader

#: A prefix or a tag's name that covers at most so many waits is answered by sorting all of them.
FEW: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTriggers:
    """Newest first. `tag` is `name:value`, or a `name` with any value; `cursor` is an id or a time."""

    project_id: str
    status: str | None = None
    source_type: str | None = None
    workflow_run_id: str | None = None
    job_run_id: str | None = None
    event_key: str | None = None
    key_prefix: str | None = None
    tag: str | None = None
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Trigger]:
        limit = clamped(self.limit)
        before = bound_of(self.cursor)
        walk = await self._walk(reader, before)
        if walk is None:
            return Page((), False, None)
        rows, looked_to = await look(reader, walk, before, limit)
        ids = [row[0] for row in rows]
        page = page_of(ids, ids, limit, looked_to)
        found = await reader.load("triggers_by_id", [(self.project_id, each) for each in page.items])
        # A send may have come between the two looks.
        triggers = sorted(
            (trigger for row in found if self._holds(trigger := Trigger(*row))),
            key=lambda trigger: trigger.id,
            reverse=True,
        )
        fitting = await fitting_triggers(reader, triggers)
        items = await with_bodies(reader, triggers[:fitting])
        if fitting < len(triggers):
            return Page(items, True, items[-1].id)
        return Page(items, page.has_more, page.next_cursor)

    def _holds(self, trigger: Trigger) -> bool:
        """Whether it really is what was asked for: its status may have changed meanwhile, and the
        text that stands for a tag may, rarely, stand elsewhere."""
        if self.status not in (None, trigger.status):
            return False
        return self.tag is None or has_tag(trigger.tags, self.tag)

    async def _walk(self, reader: Reader, before: str) -> Walk | None:
        """The index to read along; None where that already tells that there is nothing."""
        filters = self._filters()
        if self.event_key is not None:
            top = await self._top_ordinal(reader, before)
            filters |= {"event_key": self.event_key, "top": top}
            return Walk("list_key_page", self._bounded("list_key_floor"), filters) if top else None
        if self.tag is not None and ":" in self.tag:
            filters["tag_name"], _, filters["tag_value"] = self.tag.partition(":")
            return Walk("list_tag_page", self._bounded("list_tag_floor"), filters)
        if self.key_prefix is not None:
            rows = await reader.rows("prefix_count", **self._scope(filters), most=FEW + 1)
            if rows[0][0] <= FEW:
                return Walk("list_prefix_page", None, filters | {"few": FEW})
        if self.tag is not None:
            filters["tag_name"] = self.tag
            rows = await reader.rows(
                "tag_name_count", project_id=self.project_id, tag_name=self.tag, most=FEW + 1
            )
            if rows[0][0] <= FEW:
                return Walk("list_tag_name_page", None, filters | {"few": FEW})
        return Walk("list_page", self._bounded("list_floor"), filters)

    def _bounded(self, floor: str) -> str | None:
        """The index's own order needs no bound; a filter beside it does."""
        filters = self._filters()
        del filters["project_id"]
        if self.event_key is None and self.tag is not None and ":" in self.tag:
            del filters["tag_text"]
        return floor if any(value is not None for value in filters.values()) else None

    def _filters(self) -> dict[str, Any]:
        return {
            "project_id": self.project_id,
            "status": self.status,
            "source_type": self.source_type,
            "workflow_run_id": self.workflow_run_id,
            "job_run_id": self.job_run_id,
            "prefix": self.key_prefix,
            "prefix_end": None if self.key_prefix is None else prefix_end(self.key_prefix),
            "tag_text": None if self.tag is None else text_of_tag(self.tag),
        }

    def _scope(self, filters: dict[str, Any]) -> dict[str, Any]:
        return {name: filters[name] for name in ("project_id", "prefix", "prefix_end")}

    async def _top_ordinal(self, reader: Reader, before: str) -> int:
        """The highest ordinal under the key whose id is below `before`, by halving: under one key
        the ordinals rise with the ids. 0 if there is none."""
        low, high = 0, 1 << 62
        while True:
            ordinal, trigger_id = await self._probe(reader, high)
            if trigger_id < before:
                return ordinal
            high = ordinal - 1
            middle = (low + high) // 2
            ordinal, trigger_id = await self._probe(reader, middle)
            if trigger_id < before:
                low = middle
            else:
                high = ordinal - 1

    async def _probe(self, reader: Reader, ordinal: int) -> tuple[int, str]:
        """The wait under the key with the highest ordinal up to this one; (0, "") below all."""
        rows = await reader.rows(
            "ordinal_at_most", project_id=self.project_id, event_key=self.event_key, ordinal=ordinal
        )
        return (rows[0][0], rows[0][1]) if rows else (0, "")
