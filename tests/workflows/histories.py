"""Random histories of random workflows over a real store: whatever can happen to them, several in one commit, early, late
and doubled. After each step the store is compared with the slow reference, which is told every commit in its order.

The reference is that of the simulation (`tests/simulation/workflow_turn.py`), which has crashes and virtual time, but
one database and no threads.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from narrows.engine.consume import ConsumeMessagesRole
from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.runs_due import WakeRunsRole
from narrows.engine.workflow_runs_due import ExpireWorkflowRunsRole
from narrows.errors import NotFound, Refusal
from narrows.operations.base import DEV, Actor
from narrows.operations.dispatch import Claim, ClaimRuns, DispatchResult, FinishDispatch
from narrows.operations.jobs import CreateJob
from narrows.operations.messages import (
    BY_MESSAGE_ALONE,
    MessageOperation,
    StartSubWorkflow,
)
from narrows.operations.reads import PendingMessages
from narrows.operations.reads.workflows import GetWorkflow
from narrows.operations.runs import CancelRun
from narrows.operations.triggers import CancelTrigger, ExtendTrigger
from narrows.operations.workflows import CreateWorkflow
from tests.simulation.ledger import CameDue, LedgerWriter
from tests.simulation.run_values import ModelRun
from tests.simulation.values import INTEGER_SCHEMA
from tests.simulation.workflow_asking import EVENT_PAYLOADS, PREFIXES, Asking
from tests.simulation.workflow_comparing import DUMPS, compare_everything
from tests.simulation.workflow_model import WorkflowModel
from tests.simulation.workflow_plans import Drawing
from tests.simulation.workflow_seen import Seen, SeenMessage, seen_message
from tests.storage.kit import PROJECT, Bench

JOBS = ("j", "k")
HOLDER = "worker:w"
#: Each may start those behind it.
SLUGS = ("w0", "w1", "w2")
#: What one step of a history is made of -> weight.
MIX = {
    "send": 30, "again": 5, "start": 8, "decide": 14, "claim": 8, "finish": 16, "message": 10, "cancel_trigger": 2,
    "extend": 2, "cancel_run": 2,
}  # fmt: skip


class History:
    """One history; `rng` chooses everything."""

    def __init__(self, bench: Bench, rng: random.Random) -> None:
        self.bench = bench
        self.rng = rng
        self.model = WorkflowModel()
        self._batches: list[tuple[Any, Any, CameDue]] = []
        self._asked = 0
        self._jobs: list[str] = []
        self._sent: list[Any] = []
        self._messages: list[SeenMessage] = []
        self._asking = Asking(rng, self.model, PROJECT, self._common)
        self._consume = ConsumeMessagesRole(bench.service)
        self._expiry = (
            ExpireTriggersRole(bench.service),
            WakeRunsRole(bench.service, "server:x"),
            ExpireWorkflowRunsRole(bench.service),
        )
        LedgerWriter.watch(bench.store.writer, lambda *batch: self._batches.append(batch))

    def _common(self) -> dict[str, Any]:
        """A label of its own for each request, so that `sent_by` names the cause of every change."""
        self._asked += 1
        return {
            "actor": Actor(f"client:{self._asked}"),
            "project_id": PROJECT,
            "entropy": self.bench.entropy(),
        }

    # ---- the story ---------------------------------------------------------------------------

    async def tell(self, steps: int) -> None:
        await self._begin()
        for _ in range(steps):
            if self.rng.random() < 0.2:
                await self._time_goes_on()
            else:
                await self._together()
            await self.settle()
        await self._end()

    async def _begin(self) -> None:
        service = self.bench.service
        for slug in JOBS:
            job = await service.perform(
                CreateJob(
                    **self._common(), slug=slug, signing_secrets="[]", max_attempts=self.rng.choice((1, 3))
                )
            )
            self._jobs.append(job.id)
        drawing = Drawing(self.rng, (), PREFIXES, JOBS)
        for number in range(self.rng.choice((1, 2, 3))):
            plan = drawing.plan(SLUGS[number], SLUGS[number + 1 :], (None, None, None, INTEGER_SCHEMA))
            parsed = await service.check_definition(plan.text())
            assert parsed.definition is not None, parsed.faults
            plan.definition = parsed.definition
            self.model.plans[plan.text()] = plan
            await service.perform(
                CreateWorkflow(**self._common(), text=plan.text(), definition=plan.definition)
            )
        await self.settle()

    async def _together(self) -> None:
        """One to many operations, their first round in one commit."""
        rng = self.rng
        kinds = rng.choices(list(MIX), list(MIX.values()), k=rng.choice((1, 1, 2, 3, 4, 6)))
        kinds = [kind for place, kind in enumerate(kinds) if kind != "claim" or kind not in kinds[:place]]
        if not self.model.workflow_runs:
            kinds.append("start")
        if rng.random() < 0.15:
            # What is over its time by now has not been timed out yet.
            self.bench.clock.advance(secs=rng.choice((5, 31, 301)))
        operations = [found for kind in kinds for found in await getattr(self, f"_{kind}")()]
        if not operations:
            return
        self.bench.gate.shut()
        plug = asyncio.create_task(self.bench.project(exist_ok=True))
        try:
            await self.bench.gate.reached()
            tasks = [asyncio.create_task(self.bench.service.perform(each)) for each in operations]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            self.bench.gate.open()
        await plug
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Refusal):
                raise outcome

    async def _time_goes_on(self) -> None:
        self.bench.clock.advance(secs=self.rng.choice((1, 2, 6, 31, 61, 301, 601)))
        for role in self._expiry:
            await role.round()

    async def _end(self) -> None:
        """Every message is consumed, every job done: then nothing is left that could go on by itself."""
        for _ in range(1_000):
            queued = await self._claim(limit=100)
            for operation in [*queued, *(await self._finish(every=True))]:
                await self.bench.service.perform(operation)
            await self._consume.round()
            await self.settle()
            runs = self.model.runs.values()
            if not self.model.messages and not [run for run in runs if run.status in ("queued", "executing")]:
                break
        for run in self.model.workflow_runs.values():
            states = set(run.now.values())
            assert run.has_ended or run.run == "paused" or {"waiting", "delayed", "running"} & states

    # ---- what happens --------------------------------------------------------------------------

    async def _send(self) -> list[Any]:
        self._sent = [self._asking.send()]
        return self._sent

    async def _again(self) -> list[Any]:
        return self._sent

    async def _start(self) -> list[Any]:
        return [found for found in [self._asking.start()] if found]

    async def _decide(self) -> list[Any]:
        return [found for found in [self._asking.decision()] if found]

    async def _claim(self, limit: int | None = None) -> list[Any]:
        claim = Claim(PROJECT, tuple(self._jobs), limit or self.rng.choice((1, 5)), HOLDER, 60_000_000, DEV)
        return [ClaimRuns(claims=(claim,), entropy=self.bench.entropy())]

    async def _finish(self, *, every: bool = False) -> list[Any]:
        executing = [run for run in self.model.runs.values() if run.status == "executing"]
        rng = self.rng
        some = executing if every else rng.sample(executing, min(len(executing), rng.choice((1, 1, 2))))
        return [self._finishing(run) for run in some]

    def _finishing(self, run: ModelRun) -> FinishDispatch:
        completed = self.rng.random() < 0.75
        result = self.rng.choice(EVENT_PAYLOADS) if completed else None
        end = DispatchResult(completed, result, None if completed else "broken", self.rng.random() < 0.5)
        return FinishDispatch(
            project_id=PROJECT, run_id=run.id, dispatch=run.dispatch, result=end, entropy=self.bench.entropy()
        )

    async def _message(self) -> list[Any]:
        """All messages that there are, beside whatever else happens."""
        messages = await self.bench.service.read(PendingMessages(10))
        return [await self._consuming(message) for message in messages]

    async def _consuming(self, message: Any) -> MessageOperation:
        common = {"message": message, "entropy": self.bench.entropy()}
        if (operation := BY_MESSAGE_ALONE.get(message.kind)) is not None:
            return operation(**common)
        slug = MessageOperation(**common).body["workflow_slug"]
        try:
            workflow, version = await self.bench.service.read(GetWorkflow(project_id=PROJECT, workflow=slug))
        except NotFound:
            return StartSubWorkflow(**common, workflow=None, definition=None)
        definition = await self.bench.service.definition(version)
        return StartSubWorkflow(**common, workflow=workflow, definition=definition)

    async def _cancel_trigger(self) -> list[Any]:
        waiting = [wait.id for wait in self.model.waits.values() if wait.status == "waiting"]
        if not waiting:
            return []
        return [CancelTrigger(**self._common(), trigger_id=self.rng.choice(waiting))]

    async def _extend(self) -> list[Any]:
        waiting = [wait.id for wait in self.model.waits.values() if wait.status == "waiting"]
        if not waiting:
            return []
        secs = self.rng.choice((0, 5, 60))
        return [ExtendTrigger(**self._common(), trigger_id=self.rng.choice(waiting), timeout_secs=secs)]

    async def _cancel_run(self) -> list[Any]:
        living = [run.id for run in self.model.runs.values() if not run.has_ended]
        return [CancelRun(**self._common(), run_id=self.rng.choice(living))] if living else []

    # ---- comparing -----------------------------------------------------------------------------

    async def settle(self) -> None:
        """Tell the reference what was committed, and compare."""
        rows = dict(zip(DUMPS, await self.bench.store.read(Dump(DUMPS)), strict=True))
        batches, self._batches = self._batches, []
        seen = Seen(rows.__getitem__)
        seen.told = [found for batch, _, _ in batches for found in _messages_of(batch)]
        self.model.seen = seen
        wall = self.bench.clock.now()
        for batch, result, came_due in batches:
            if result.committed is None:
                continue
            self.model.begin_batch(result.committed.now, wall, *came_due)
            for ticket, outcome in zip(batch, result.outcomes, strict=True):
                self.model.step(ticket.operation, outcome, result.committed.now, wall)
            self.model.end_batch()
        compare_everything(self.model, rows.__getitem__)


class Dump:
    """What some statements answer, in either database."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    async def run(self, reader: Any) -> list[list[tuple[Any, ...]]]:
        line = getattr(reader, "line", None)
        if line is None:
            return [[tuple(row) for row in reader.raw.execute(text)] for text in self._texts]
        return [[tuple(row) for row in await line.raw.fetch(text)] for text in self._texts]


def _messages_of(batch: Any) -> list[SeenMessage]:
    """Those that its operations consume, which the database has no more."""
    operations = (getattr(ticket.operation, "operation", ticket.operation) for ticket in batch)
    return [
        seen_message(
            message.project_id, message.id, message.kind, message.subject_id, message.hops, message.body, None
        )
        for message in (getattr(each, "message", None) for each in operations)
        if message is not None
    ]
