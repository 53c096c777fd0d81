"""What Narrows promises of outgoing webhooks, as the plainest program: the third part of the model, beside
waits and runs of `tests/simulation`. Written from the contract and not from the code under test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.simulation.run_values import SECOND_US, ModelRun
from tests.simulation.values import DAY_US, Violation, Wait
from tests.simulation.workflow_model import WorkflowModel

OPENED, SETTLED = "trigger.opened", "trigger.settled"
#: The longest pause after each failed attempt; there is none after the last.
PAUSES_SECS = (5, 60, 300, 1_800, 7_200, 21_600, 54_000)


@dataclass(slots=True)
class ModelDelivery:
    """One webhook. Its id is in no answer, and is learned from the database."""

    trigger_id: str
    kind: str
    url: str
    created_at: int
    due_at: int | None
    id: str = ""
    status: str = "pending"
    attempts: int = 0
    last_status: int | None = None
    finished_at: int | None = None
    #: Between which times the next attempt is due, until the database has said when.
    pause: tuple[int, int] | None = None

    def row(self) -> tuple[Any, ...]:
        return (
            self.trigger_id, self.kind, self.url, self.status, self.attempts, self.last_status,
            self.created_at, self.due_at, self.finished_at,
        )  # fmt: skip


class DeliveryModel(WorkflowModel):
    """Each trigger with a `notify_url` has one delivery of its opening and one of its settling."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: dict[str, str] = {}
        self.deliveries: dict[tuple[str, str], ModelDelivery] = {}
        #: Of a trigger: how its newest delivery stands.
        self.notified: dict[str, str] = {}

    def delivery(self, delivery_id: str) -> ModelDelivery | None:
        return next((each for each in self.deliveries.values() if each.id == delivery_id), None)

    def is_needed(self, wait: Wait) -> bool:
        return super().is_needed(wait) or self.notified.get(wait.id) == "pending"

    # ---- when one is due ----

    def _notify(self, trigger_id: str, kind: str) -> None:
        if trigger_id in self.urls:
            made = ModelDelivery(trigger_id, kind, self.urls[trigger_id], self.now, due_at=self.now)
            self.deliveries[trigger_id, kind] = made
            self.notified[trigger_id] = "pending"

    def time_out(self, wait: Wait) -> None:
        self._notify(wait.id, SETTLED)
        super().time_out(wait)

    def receive(self, wait: Wait, payload: str | None, sent_by: str | None) -> None:
        self._notify(wait.id, SETTLED)
        super().receive(wait, payload, sent_by)

    def cancel_wait(self, wait: Wait) -> None:
        self._notify(wait.id, SETTLED)
        super().cancel_wait(wait)

    def _OpenTrigger(self, operation: Any, value: Any) -> Any:  # noqa: N802 - named after the operation
        if value is not None:
            self._is_to_be_notified(value.trigger.id, operation.notify_url)
        return super()._OpenTrigger(operation, value)

    def _end_by_WaitForEvents(self, run: ModelRun, operation: Any, value: Any) -> Any:  # noqa: N802
        for wanted, granted in zip(operation.events, () if value is None else value.waits, strict=False):
            self._is_to_be_notified(granted.trigger_id, wanted.notify_url)
        return super()._end_by_WaitForEvents(run, operation, value)

    def _is_to_be_notified(self, trigger_id: str, url: str | None) -> None:
        if url is not None and trigger_id not in self.waits:
            self.urls[trigger_id] = url
            self._notify(trigger_id, OPENED)

    # ---- what becomes of it ----

    def _ClaimDeliveries(self, operation: Any, value: Any) -> Any:  # noqa: N802
        claimed = []
        for _, delivery_id in operation.ids:
            found = self.delivery(delivery_id)
            if found is not None and found.due_at is not None and found.due_at <= self.wall:
                found.attempts += 1
                found.due_at = self.wall + operation.lease_us
                claimed.append((found.id, found.attempts, found.due_at))
        said = [(each.id, each.attempts, each.due_at) for each in value]
        if said != claimed:
            raise Violation(f"{operation} claimed {said}, and it had to be {claimed}")
        return None

    def _FinishDeliveries(self, operation: Any, value: Any) -> Any:  # noqa: N802
        return sum(self._finish(claimed, outcome) for claimed, outcome in operation.ended)

    def _finish(self, claimed: Any, outcome: Any) -> bool:
        found = self.delivery(claimed.id)
        made = outcome.status is not None and 200 <= outcome.status < 300
        if found is None or found.status != "pending" or (found.attempts != claimed.attempts and not made):
            return False
        found.last_status = outcome.status
        if made or outcome.status == 410 or found.attempts > len(PAUSES_SECS):
            found.status = "delivered" if made else "failed"
            found.due_at, found.pause, found.finished_at = None, None, self.now
            self._show(found)
        else:
            pause_us = PAUSES_SECS[found.attempts - 1] * SECOND_US
            asked = self.wall + (outcome.retry_after_secs or 0) * SECOND_US
            asked = min(asked, found.created_at + DAY_US)
            least, most = self.wall + pause_us * 4 // 5, self.wall + pause_us
            found.pause = (max(least, asked), max(most, asked))
        return True

    def _show(self, delivery: ModelDelivery) -> None:
        """Its trigger shows how its newest delivery stands."""
        wait = self.waits.get(delivery.trigger_id)
        if wait is not None and (delivery.kind == SETTLED or wait.status == "waiting"):
            self.notified[wait.id] = delivery.status

    def _RetryDelivery(self, operation: Any, value: Any) -> Any:  # noqa: N802
        self.by_id(operation.project_id, operation.trigger_id)
        found = self.delivery(operation.delivery_id)
        owner = None if found is None else self.waits.get(found.trigger_id)
        if found is None or (owner is not None and owner.project_id != operation.project_id):
            return "not_found"
        if found.status == "delivered":
            return "conflict"
        found.status, found.due_at, found.pause, found.finished_at = "pending", self.wall, None, None
        self._show(found)
        return None

    # ---- what goes ----

    def _DeleteTriggers(self, operation: Any, value: Any) -> Any:  # noqa: N802
        deleted = super()._DeleteTriggers(operation, value)
        gone = [trigger_id for _, trigger_id in operation.ids if trigger_id not in self.waits]
        for trigger_id in gone:
            self.urls.pop(trigger_id, None)
            self.notified.pop(trigger_id, None)
            for kind in (OPENED, SETTLED):
                self.deliveries.pop((trigger_id, kind), None)
        return deleted

    def _DeleteRows(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if operation.table == "deliveries":
            ids = {delivery_id for _, delivery_id in operation.keys}
            for key, each in list(self.deliveries.items()):
                if each.id in ids and each.status != "pending":
                    del self.deliveries[key]
        return super()._DeleteRows(operation, value)

    # ---- what only the database knows ----

    def learn_deliveries(self, committed: Iterable[Any]) -> None:
        """Ids, and how long a failed attempt pauses, which is left to chance within bounds."""
        for each in committed:
            found = self.deliveries.get((each.trigger_id, each.kind))
            if found is None:
                raise Violation(f"the delivery {each} was made for nothing")
            found.id = found.id or each.id
            if found.pause is not None:
                least, most = found.pause
                if each.due_at is None or not least <= each.due_at <= most:
                    raise Violation(f"{each} is tried again at {each.due_at}, and not from {least} to {most}")
                found.due_at, found.pause = each.due_at, None
