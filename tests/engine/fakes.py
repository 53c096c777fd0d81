"""A store of due times in a dictionary, for the roles: what they read and perform is seen and scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from narrows.core.records import HeldEvent, Trigger
from narrows.core.states import HeldStatus
from narrows.core.triggers import cancel, new_wait
from narrows.engine.feed import Feed
from narrows.operations.events import ExpireHeldEvents, RecordUnmatched
from narrows.operations.purge import SetMark
from narrows.operations.reads.due import DueHeldEvents, DueTriggers, ReadMark
from narrows.operations.reads.retention import SurplusUnmatched
from narrows.operations.retention import (
    Pruned,
    PruneRows,
    PruneRuns,
    PruneTriggers,
    PruneWorkflowRuns,
)
from narrows.operations.triggers import ExpireTriggers
from narrows.storage.committed import Committed
from narrows.storage.members import ALONE
from narrows.testing import ManualClock

PROJECT = "p"


def commit(*triggers: Trigger, held: tuple[HeldEvent, ...] = ()) -> Committed:
    return Committed((), triggers, (), held, operations=1, now=0, commit_secs=0.0)


def table_of(what: PruneTriggers | PruneRuns | PruneWorkflowRuns | PruneRows) -> str | None:
    """What is to be pruned; None stands for settled triggers."""
    if isinstance(what, PruneRows):
        return what.table
    if isinstance(what, PruneWorkflowRuns):
        return "workflow_runs"
    return "runs" if isinstance(what, PruneRuns) else None


class FakeService:
    """What the roles know of a service. `after_read` is called with each read, as a place for what
    happens meanwhile; `refuse` raises for an operation; no operation ends while `open_gate` is cleared."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.members = ALONE
        self.feed = Feed()
        self.waiting: dict[str, Trigger] = {}
        self.held: dict[str, int] = {}
        self.marks: dict[str, int] = {}
        self.old_rows: dict[str | None, int] = {}
        self.performed: list[Any] = []
        self.pruned: list[Any] = []
        self.reads: list[Any] = []
        self.after_read: Callable[[Any], None] = lambda read: None
        self.refuse: Callable[[Any], None] = lambda operation: None
        self.open_gate = asyncio.Event()
        self.open_gate.set()

    def entropy(self) -> int:
        return 7

    def open(self, number: int, *, due: int, silently: bool = False) -> Trigger:
        """Open a wait that is due at `due`; with `silently` the feed loses the news."""
        trigger = new_wait(
            project_id=PROJECT, trigger_id=f"{number:06}", event_key=f"k{number}", ordinal=1,
            timeout_secs=1, now=self.clock.now(), opened_by="dev",
        )._replace(expires_at=due)  # fmt: skip
        self.waiting[trigger.id] = trigger
        if not silently:
            self.feed.publish(commit(trigger))
        return trigger

    def extend(self, trigger: Trigger, due: int) -> None:
        changed = trigger._replace(expires_at=due, version=trigger.version + 1)
        self.waiting[trigger.id] = changed
        self.feed.publish(commit(changed))

    def settle(self, trigger: Trigger) -> None:
        self.feed.publish(commit(cancel(self.waiting.pop(trigger.id), "settled", self.clock.now())))

    def hold(self, number: int, until: int) -> None:
        held_id = f"{number:06}"
        self.held[held_id] = until
        event = HeldEvent(
            PROJECT, held_id, "k", None, HeldStatus.HELD, None, None, self.clock.now(), until, None, None
        )
        self.feed.publish(commit(held=(event,)))

    async def read(self, read: Any) -> Any:
        self.reads.append(read)
        answer = self._answer(read)
        self.after_read(read)
        await asyncio.sleep(0)
        return answer

    def _answer(self, read: Any) -> Any:
        if isinstance(read, ReadMark):
            return self.marks.get(read.name)
        if isinstance(read, DueTriggers):
            rows = sorted((each.expires_at, PROJECT, each.id) for each in self.waiting.values())
            return [row for row in rows if row > tuple(read.after) and row[0] <= read.until][: read.limit]
        if isinstance(read, SurplusUnmatched):
            return []
        assert isinstance(read, DueHeldEvents)
        return sorted((until, PROJECT, held_id) for held_id, until in self.held.items())[: read.limit]

    async def perform(self, operation: Any) -> Any:
        self.performed.append(operation)
        await asyncio.sleep(0)
        await self.open_gate.wait()
        self.refuse(operation)
        if isinstance(operation, SetMark):
            self.marks[operation.name] = operation.value
        elif isinstance(operation, ExpireTriggers):
            return self._expire(operation)
        elif isinstance(operation, ExpireHeldEvents):
            return sum(self.held.pop(held_id, 0) > 0 for _, held_id in operation.ids)
        else:
            assert isinstance(operation, RecordUnmatched)
            return len(operation.events)
        return None

    def _expire(self, operation: ExpireTriggers) -> int:
        now, expired = self.clock.now(), 0
        for _, trigger_id in operation.ids:
            trigger = self.waiting.get(trigger_id)
            if trigger is not None and trigger.expires_at <= now:
                self.settle(trigger)
                expired += 1
        return expired

    async def prune(self, what: PruneTriggers | PruneRuns | PruneWorkflowRuns | PruneRows) -> Pruned:
        self.pruned.append(what)
        table = table_of(what)
        going = min(self.old_rows.get(table, 0), what.limit)
        self.old_rows[table] = self.old_rows.get(table, 0) - going
        return Pruned(going, what.after if self.old_rows[table] else None)

    def expired(self) -> list[tuple[str, ...]]:
        """The ids of each operation that timed triggers out."""
        return [
            tuple(trigger_id for _, trigger_id in operation.ids)
            for operation in self.performed
            if isinstance(operation, ExpireTriggers)
        ]
