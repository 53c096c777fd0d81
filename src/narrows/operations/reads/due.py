"""What the engine's roles and the metrics ask: due times, persisted marks, counts over all projects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from narrows.core.states import TriggerStatus
from narrows.storage.backend import Reader

#: The role of time-outs keeps this mark: no trigger with an earlier due time is still waiting.
EXPIRE_MARK: Final = "expire"
#: How far the search for the oldest open wait looks: in each project, and along the due times.
_LOOK_IN_PROJECT: Final = 2_000
_LOOK_AT_DUE_TIMES: Final = 50_000


@dataclass(frozen=True, slots=True)
class DueTriggers:
    """Waiting triggers in the order of their due times, after a place in that order."""

    after: tuple[int, str, str]
    until: int
    limit: int

    async def run(self, reader: Reader) -> list[tuple[int, str, str]]:
        after_at, after_project_id, after_id = self.after
        rows = await reader.rows(
            "due_triggers",
            after_at=after_at,
            after_project_id=after_project_id,
            after_id=after_id,
            until=self.until,
            most=self.limit,
        )
        return [(at, project_id, trigger_id) for at, project_id, trigger_id in rows]


@dataclass(frozen=True, slots=True)
class DueHeldEvents:
    """Held and delivered events in the order in which they go."""

    until: int
    limit: int

    async def run(self, reader: Reader) -> list[tuple[int, str, str]]:
        rows = await reader.rows("due_held_events", until=self.until, most=self.limit)
        return [(at, project_id, held_id) for at, project_id, held_id in rows]


@dataclass(frozen=True, slots=True)
class ReadMark:
    """A persisted lower bound of one of the engine's roles."""

    name: str

    async def run(self, reader: Reader) -> int | None:
        rows = await reader.load("marks_by_name", [(self.name,)])
        return int(rows[0][1]) if rows else None


@dataclass(frozen=True, slots=True)
class CountByStatus:
    """How many triggers there are in each status, over all projects."""

    async def run(self, reader: Reader) -> dict[str, int]:
        ((waiting, received, timed_out, canceled),) = await reader.rows("count_by_status")
        return {
            TriggerStatus.WAITING: waiting,
            TriggerStatus.RECEIVED: received,
            TriggerStatus.TIMED_OUT: timed_out,
            TriggerStatus.CANCELED: canceled,
        }


@dataclass(frozen=True, slots=True)
class OldestWaiting:
    """When the wait that is open for longest was requested. None if nothing waits, and also where a
    bounded look does not find it: no index holds the status, so that a send need not write to it."""

    async def run(self, reader: Reader) -> int | None:
        rows = await reader.rows("oldest_waiting_by_project", looked_at=_LOOK_IN_PROJECT)
        if all(requested_at is not None for (requested_at,) in rows):
            return min((requested_at for (requested_at,) in rows), default=None)
        after_at = await ReadMark(EXPIRE_MARK).run(reader) or 0
        ((oldest, looked_at),) = await reader.rows(
            "oldest_waiting_by_due_time", after_at=after_at, looked_at=_LOOK_AT_DUE_TIMES
        )
        return oldest if looked_at < _LOOK_AT_DUE_TIMES else None


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    async def run(self, reader: Reader) -> int:
        rows = await reader.rows("schema_version")
        return int(rows[0][0])
