"""What a dispatch carries besides its run: the payload's text, and which trigger resumed it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from narrows.core.records import Trigger
from narrows.core.run_records import Run, WaitGroup
from narrows.core.waits import ended_by
from narrows.storage.backend import Reader


class Luggage(NamedTuple):
    payload: str | None
    resumed_by: str | None


@dataclass(frozen=True, slots=True)
class LuggageOf:
    """Of a run that has just been dispatched."""

    dispatched: Run

    async def run(self, reader: Reader) -> Luggage:
        run = self.dispatched
        payload = run.payload
        if payload is None and run.payload_id is not None:
            rows = await reader.load("payloads_by_id", [(run.project_id, run.payload_id)])
            payload = rows[0][2] if rows else None
        return Luggage(payload, await self._resumed_by(reader))

    async def _resumed_by(self, reader: Reader) -> str | None:
        run = self.dispatched
        if run.wait_group_id is None:
            return None
        groups = await reader.load("wait_groups_by_id", [(run.project_id, run.wait_group_id)])
        if not groups:
            return None
        group = WaitGroup(*groups[0])
        keys = sorted((run.project_id, each) for each in json.loads(group.trigger_ids))
        rows = await reader.load("triggers_by_id", keys)
        last = ended_by([Trigger(*row) for row in rows])
        return None if last is None else last.id
