"""What the service itself asks while it drives an operation; no endpoint answers these."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core.records import HeldEvent, IdempotencyRecord, Trigger
from narrows.operations.reads.bodies import fitting_triggers, with_bodies
from narrows.storage.backend import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class GetIdempotencyRecord:
    scope_hash: str

    async def run(self, reader: Reader) -> IdempotencyRecord | None:
        rows = await reader.load("idempotency_by_scope", [(self.scope_hash,)])
        return IdempotencyRecord(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTriggers:
    """The first of these triggers that there are still, oldest first, with their payloads: as many as
    stay within the size of a page."""

    project_id: str
    ids: tuple[str, ...]

    async def run(self, reader: Reader) -> tuple[Trigger, ...]:
        if not self.ids:
            return ()
        rows = await reader.load("triggers_by_id", [(self.project_id, each) for each in self.ids])
        triggers = sorted((Trigger(*row) for row in rows), key=lambda trigger: trigger.id)
        return await with_bodies(reader, triggers[: await fitting_triggers(reader, triggers)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadHeldPayload:
    """The payload of a held event, None if it has none or is gone."""

    project_id: str
    held_id: str

    async def run(self, reader: Reader) -> str | None:
        rows = await reader.load("held_by_id", [(self.project_id, self.held_id)])
        if not rows:
            return None
        event = HeldEvent(*rows[0])
        if event.payload_id is None:
            return event.payload
        bodies = await reader.load("payloads_by_id", [(self.project_id, event.payload_id)])
        return str(bodies[0][2]) if bodies else None
