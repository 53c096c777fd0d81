"""Deliveries: which are due, what one of them says, and their list. What they carry is the trigger, which
is read as it stands and shown as it was when the delivery was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from narrows.core import deliveries as rules
from narrows.core.records import Project, Trigger
from narrows.core.run_records import Delivery
from narrows.core.states import DeliveryKind
from narrows.errors import NotFound
from narrows.operations.reads.bodies import with_bodies
from narrows.operations.reads.paging import Page, Walk, bound_of, clamped, look, page_of
from narrows.storage.backend import Reader

#: So many changes of one trigger are looked through for its first extension.
_MOST_FACTS: Final = 20_000


class DueDelivery(NamedTuple):
    """When a delivery is due and where it goes. The first three name its place in the index."""

    due_at: int
    project_id: str
    id: str
    url: str


class Parcel(NamedTuple):
    """A delivery with all that its request is made of: the trigger as the delivery tells of it, with
    its payloads; the text of its expected schema; the project's signing secrets, encrypted."""

    delivery: Delivery
    trigger: Trigger
    expected_schema: str | None
    signing_secrets: str | None


@dataclass(frozen=True, slots=True)
class DueDeliveries:
    """In the order of their due times, after a place in that order."""

    after: tuple[int, str, str]
    until: int
    limit: int

    async def run(self, reader: Reader) -> list[DueDelivery]:
        after_at, after_project_id, after_id = self.after
        rows = await reader.rows(
            "due_deliveries",
            after_at=after_at,
            after_project_id=after_project_id,
            after_id=after_id,
            until=self.until,
            most=self.limit,
        )
        return [DueDelivery(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class LoadParcel:
    """What a delivery sends; None where its trigger is gone."""

    delivery: Delivery

    async def run(self, reader: Reader) -> Parcel | None:
        delivery = self.delivery
        rows = await reader.load("triggers_by_id", [(delivery.project_id, delivery.trigger_id)])
        if not rows:
            return None
        trigger = Trigger(*rows[0])._replace(notify_status=None)
        if delivery.kind == DeliveryKind.TRIGGER_OPENED:
            trigger = rules.as_opened(trigger, await _opening_timeout_secs(reader, trigger))
        (trigger,) = await with_bodies(reader, (trigger,))
        schema = None
        if trigger.expected_schema_id is not None:
            found = await reader.load("payloads_by_id", [(trigger.project_id, trigger.expected_schema_id)])
            schema = found[0][2] if found else None
        projects = await reader.load("projects_by_id", [(delivery.project_id,)])
        secrets = Project(*projects[0]).signing_secrets if projects else None
        return Parcel(delivery, trigger, schema, secrets)


async def _opening_timeout_secs(reader: Reader, trigger: Trigger) -> int:
    """`timeout_secs` that the trigger was opened with; its first extension tells it."""
    if not rules.was_extended(trigger):
        return trigger.timeout_secs
    scope: dict[str, Any] = {"project_id": trigger.project_id, "trigger_id": trigger.id}
    rows = await reader.rows("first_extension", **scope, most=_MOST_FACTS)
    before = json.loads(rows[0][0] or "{}") if rows else {}
    return int(before.get("timeout_secs_before", trigger.timeout_secs))


@dataclass(frozen=True, slots=True)
class GetDelivery:
    project_id: str
    delivery_id: str

    async def run(self, reader: Reader) -> Delivery:
        rows = await reader.load("deliveries_by_id", [(self.project_id, self.delivery_id)])
        if not rows:
            raise NotFound(
                f"There is no delivery {self.delivery_id!r} in this project. List them with GET /v1/deliveries."
            )
        return Delivery(*rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDeliveries:
    """Newest first."""

    project_id: str
    status: str | None = None
    trigger_id: str | None = None
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Delivery]:
        limit = clamped(self.limit)
        scope: dict[str, Any] = {"project_id": self.project_id, "status": self.status}
        walk = Walk("list_deliveries_page", None if self.status is None else "list_deliveries_floor", scope)
        if self.trigger_id is not None:
            walk = Walk("list_deliveries_of_trigger", None, scope | {"trigger_id": self.trigger_id})
        rows, looked_to = await look(reader, walk, bound_of(self.cursor), limit)
        items = [Delivery(*row) for row in rows]
        return page_of(items, [each.id for each in items], limit, looked_to)
