"""Outgoing webhooks: an attempt begins, an attempt has ended, somebody wants another one. What is sent and
how stands in `engine/deliver.py`; the schedule in `core/deliveries.py`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

from narrows.core import deliveries as rules
from narrows.core.run_records import Delivery
from narrows.core.states import DeliveryStatus, FactKind
from narrows.errors import Conflict, NotFound
from narrows.operations.base import ENGINE, ProjectOperation
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDeliveries:
    """Begin an attempt of each that is due among `ids` (project_id, delivery_id); answers those. Until
    `lease_us` from now nobody else begins another; if nothing is heard of it by then, it is due again."""

    background: ClassVar[bool] = True

    ids: tuple[tuple[str, str], ...]
    lease_us: int
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [("deliveries_by_id", *key) for key in self.ids]

    def apply(self, tx: Transaction) -> tuple[Delivery, ...]:
        claimed = []
        for key in self.ids:
            delivery = tx.delivery(*key)
            if delivery is not None and rules.is_due(delivery, tx.wall):
                begun = rules.begin_attempt(delivery, tx.wall, self.lease_us)
                tx.save(begun)
                claimed.append(begun)
        return tuple(claimed)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishDeliveries:
    """Write down how attempts of claimed deliveries ended. A success counts whichever attempt had it; a
    failure only of the newest one. Answers how many were changed."""

    background: ClassVar[bool] = True

    ended: tuple[tuple[Delivery, rules.Outcome], ...]
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [
            touch
            for claimed, _ in self.ended
            for touch in (
                ("deliveries_by_id", claimed.project_id, claimed.id),
                ("triggers_to_change", claimed.project_id, claimed.trigger_id),
            )
        ]

    def apply(self, tx: Transaction) -> int:
        return sum(self._finish(tx, claimed, outcome) for claimed, outcome in self.ended)

    def _finish(self, tx: Transaction, claimed: Delivery, outcome: rules.Outcome) -> bool:
        delivery = tx.delivery(claimed.project_id, claimed.id)
        if delivery is None or delivery.status != DeliveryStatus.PENDING:
            return False
        if delivery.attempts != claimed.attempts and not outcome.is_success:
            return False
        jitter = self.entropy ^ crc32(delivery.id.encode())
        ended = rules.end_attempt(delivery, outcome, tx.now, tx.wall, jitter)
        tx.save(ended)
        if ended.status != DeliveryStatus.PENDING:
            made = ended.status == DeliveryStatus.DELIVERED
            kind = FactKind.DELIVERY_MADE if made else FactKind.DELIVERY_FAILED
            _record(tx, kind, ended, ENGINE.label, self.entropy)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDelivery(ProjectOperation):
    """Have a delivery tried again now, under the same id, also one that has failed for good.

    `trigger_id` is the delivery's own, which never changes. Raises NotFound, or Conflict if it has been
    delivered.
    """

    delivery_id: str
    trigger_id: str

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            ("deliveries_by_id", self.project_id, self.delivery_id),
            ("triggers_to_change", self.project_id, self.trigger_id),
        ]

    def apply(self, tx: Transaction) -> Delivery:
        self.authorize(tx)
        delivery = tx.delivery(self.project_id, self.delivery_id)
        if delivery is None:
            raise NotFound(
                f"There is no delivery {self.delivery_id!r} in this project. List them with GET /v1/deliveries."
            )
        if delivery.status == DeliveryStatus.DELIVERED:
            raise Conflict(f"The delivery {delivery.id} has been delivered; there is nothing to try again.")
        due = rules.retry(delivery, tx.wall)
        tx.save(due)
        _record(tx, FactKind.DELIVERY_RETRIED, due, self.actor.label, self.entropy)
        return due


def _record(tx: Transaction, kind: FactKind, delivery: Delivery, actor: str, entropy: int) -> None:
    """The fact, and how the newest delivery of the trigger stands, which the trigger shows."""
    detail = {
        "trigger_id": delivery.trigger_id,
        "attempts": delivery.attempts,
        "last_status": delivery.last_status,
    }
    text = json.dumps(detail, separators=(",", ":"))
    tx.record_fact(kind, delivery.project_id, delivery.id, actor, entropy, detail=text)
    trigger = tx.trigger(delivery.project_id, delivery.trigger_id)
    if trigger is not None and rules.is_newest(delivery, trigger):
        tx.save(trigger._replace(notify_status=delivery.status))
