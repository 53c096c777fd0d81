"""One trigger: by key, by id, with its timeline; and all that wait under a prefix. Lists are in
`listing.py`, what purge and retention look for in `retention.py`."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core.keys import prefix_end
from narrows.core.records import Counters, Fact, Trigger
from narrows.errors import NotFound
from narrows.operations.reads.bodies import with_bodies
from narrows.operations.reads.near_keys import near_waits
from narrows.storage.backend import Reader

MAX_TIMELINE = 200


@dataclass(frozen=True, slots=True)
class GetTrigger:
    """By key: the waiting trigger, else the newest. NotFound names the near keys that wait."""

    project_id: str
    event_key: str

    async def run(self, reader: Reader) -> Trigger:
        found = await newest_trigger(reader, self.project_id, self.event_key)
        if found is None:
            raise NotFound(
                f"Nothing waits or has waited under the key {self.event_key!r}. Check its spelling.",
                details=await near_waits(reader, self.project_id, self.event_key),
            )
        (trigger,) = await with_bodies(reader, (found,))
        return trigger


@dataclass(frozen=True, slots=True)
class GetTriggerById:
    project_id: str
    trigger_id: str

    async def run(self, reader: Reader) -> Trigger:
        rows = await reader.load("triggers_by_id", [(self.project_id, self.trigger_id)])
        if not rows:
            raise NotFound(
                f"There is no trigger {self.trigger_id!r} in this project. It may have been purged."
            )
        (trigger,) = await with_bodies(reader, (Trigger(*rows[0]),))
        return trigger


@dataclass(frozen=True, slots=True)
class GetStats:
    """The statistics of a project, summed over the writers. Costs the same for any number of triggers."""

    project_id: str

    async def run(self, reader: Reader) -> Counters:
        rows = await reader.load("counters_by_project", [(self.project_id,)])
        return Counters(*rows[0]) if rows else Counters(self.project_id, "", 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened to a trigger, oldest first; of a very long life the newest part."""

    project_id: str
    trigger_id: str

    async def run(self, reader: Reader) -> list[Fact]:
        rows = await reader.rows(
            "timeline_of_trigger", project_id=self.project_id, trigger_id=self.trigger_id, most=MAX_TIMELINE
        )
        return [Fact(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class WaitingUnderPrefix:
    """The ids of the triggers that wait for an event under a prefix, oldest first. The prefix counts
    byte for byte."""

    project_id: str
    prefix: str

    async def run(self, reader: Reader) -> list[str]:
        rows = await reader.rows(
            "waiting_under_prefix",
            project_id=self.project_id,
            prefix=self.prefix,
            prefix_end=prefix_end(self.prefix),
            now=reader.now,
        )
        text: str | None = rows[0][0]
        return text.split(",") if text else []


async def newest_trigger(reader: Reader, project_id: str, event_key: str) -> Trigger | None:
    """The newest wait under a key, without payloads that have rows of their own; only the newest may
    be waiting."""
    rows = await reader.load("triggers_by_key", [(project_id, event_key)])
    return Trigger(*rows[0]) if rows else None
