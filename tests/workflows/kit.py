"""Workflows on a bench: short words to define one, start it, do its jobs, and let time and messages go on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from narrows.core.run_records import Job, Run
from narrows.core.states import RunStatus
from narrows.core.step_states import statuses
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import Step, Workflow, WorkflowRun, WorkflowVersion
from narrows.core.workflow_steps import Approval
from narrows.engine.consume import ConsumeMessagesRole
from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.runs_due import WakeRunsRole
from narrows.engine.workflow_runs_due import ExpireWorkflowRunsRole
from narrows.operations.base import DEV
from narrows.operations.dispatch import Claim, ClaimRuns, DispatchResult, FinishDispatch
from narrows.operations.jobs import CreateJob
from narrows.operations.reads import PendingMessages
from narrows.operations.reads.workflow_runs import GetWorkflowRun, ListWorkflowRuns, WorkflowRunSteps
from narrows.operations.reads.workflows import GetWorkflow
from narrows.operations.steps import DecideStep, RetryStep, SkipStep
from narrows.operations.workflow_runs import (
    CancelWorkflowRun,
    RetryWorkflowRun,
    SwitchWorkflowRun,
    TriggerWorkflow,
)
from narrows.operations.workflows import CreateWorkflow, UpdateWorkflow
from tests.storage.kit import PROJECT, Bench

HOLDER = "worker:w"


def step(ref: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    """A step: a job's unless it is said otherwise."""
    job = {} if "type" in fields else {"job_slug": "j"}
    return {"step_ref": ref, "depends_on": list(depends_on), **job, **fields}


def wait(ref: str, *depends_on: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    return step(ref, *depends_on, type="wait_for_event", event_key=key or ref, **fields)


class Workflows:
    """`roles` are run by hand: nothing happens in between but what a test does."""

    #: Whether messages are left.
    pending = PendingMessages(1)

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        service = bench.service
        self._messages = ConsumeMessagesRole(service)
        self._expiry = (
            ExpireTriggersRole(service),
            WakeRunsRole(service, "server:x"),
            ExpireWorkflowRunsRole(service),
        )

    # ---- defining and starting -------------------------------------------------------------

    async def job(self, slug: str = "j", **fields: Any) -> Job:
        made: Job = await self.bench.service.perform(
            CreateJob(slug=slug, signing_secrets="[]", **self._common(), **fields)
        )
        return made

    async def define(self, *steps: dict[str, Any], slug: str = "w", **fields: Any) -> Workflow:
        text = json.dumps({"slug": slug, "steps": list(steps), **fields})
        parsed = await self.bench.service.check_definition(text)
        assert parsed.definition is not None, parsed.faults
        made: Workflow = await self.bench.service.perform(
            CreateWorkflow(text=text, definition=parsed.definition, **self._common())
        )
        return made

    async def updating(
        self, *steps: dict[str, Any], slug: str = "w", base_version: int = 1, **fields: Any
    ) -> tuple[UpdateWorkflow, Definition]:
        """A new version of these steps, and how it reads."""
        text = json.dumps({"slug": slug, "steps": list(steps), **fields})
        parsed = await self.bench.service.check_definition(text)
        assert parsed.definition is not None, parsed.faults
        update = UpdateWorkflow(
            text=text,
            definition=parsed.definition,
            workflow=slug,
            base_version=base_version,
            **self._common(),
        )
        return update, parsed.definition

    async def starting(self, payload: Any = None, slug: str = "w") -> TriggerWorkflow:
        workflow, version = await self.bench.service.read(GetWorkflow(project_id=PROJECT, workflow=slug))
        return TriggerWorkflow(
            workflow=slug,
            workflow_id=workflow.id,
            version=workflow.version,
            definition=await self.bench.service.definition(version),
            payload=None if payload is None else json.dumps(payload, separators=(",", ":")),
            **self._common(),
        )

    async def start(self, payload: Any = None, slug: str = "w") -> str:
        run: WorkflowRun = await self.bench.service.perform(await self.starting(payload, slug))
        return run.id

    async def begin(self, *steps: dict[str, Any], payload: Any = None, **fields: Any) -> str:
        """The workflow `w` of these steps, started."""
        await self.define(*steps, **fields)
        return await self.start(payload)

    async def together(self, *operations: Any) -> list[Any]:
        """Performed by the service (which answers questions), their first round in one commit."""
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
        return await asyncio.gather(*tasks, return_exceptions=True)

    # ---- looking -----------------------------------------------------------------------------

    async def run(self, run_id: str) -> WorkflowRun:
        found: WorkflowRun = await self.bench.service.read(
            GetWorkflowRun(project_id=PROJECT, workflow_run_id=run_id)
        )
        return found

    async def status(self, run_id: str) -> str:
        return str((await self.run(run_id)).status)

    async def listed(self) -> list[WorkflowRun]:
        """All workflow runs, the newest first."""
        found: list[WorkflowRun] = []
        cursor = None
        while True:
            page = await self.bench.service.read(
                ListWorkflowRuns(project_id=PROJECT, limit=100, cursor=cursor)
            )
            found += page.items
            if not page.has_more:
                return found
            cursor = page.next_cursor

    async def child(self, run_id: str, ref: str) -> WorkflowRun:
        """The sub-workflow of a step."""
        return await self.run((await self.steps(run_id))[ref].child_run_id or "")

    async def states(self, run_id: str) -> str:
        """The letters of all steps."""
        return (await self.run(run_id)).steps

    async def steps(self, run_id: str) -> dict[str, Step]:
        """The rows of steps that have begun, by their refs."""
        read = WorkflowRunSteps(project_id=PROJECT, workflow_run_id=run_id)
        shown = await self.bench.service.read(read)
        states = statuses(shown.run.steps)
        assert all(row.status == states[row.step] for row in shown.steps if row.status != "pending")
        return {row.step_ref: row for row in shown.steps}

    async def output(self, run_id: str, ref: str) -> Any:
        text = (await self.steps(run_id))[ref].output
        return None if text is None else json.loads(text)

    # ---- jobs --------------------------------------------------------------------------------

    async def claim(self, limit: int = 500, slug: str = "j") -> list[Run]:
        """Hand out what is queued of a job."""
        (row,) = await self.bench.rows("jobs_by_slug", (PROJECT, slug))
        claim = Claim(PROJECT, (row[1],), limit, HOLDER, 60_000_000, DEV)
        (granted,) = await self.bench.service.perform(
            ClaimRuns(claims=(claim,), entropy=self.bench.entropy())
        )
        return list(granted)

    def finishing(
        self, run: Run, result: Any = None, *, error: str | None = None, retry: bool = False
    ) -> Any:
        text = None if result is None else json.dumps(result)
        end = DispatchResult(error is None, text, error, retry)
        return FinishDispatch(
            project_id=PROJECT,
            run_id=run.id,
            dispatch=run.dispatch,
            result=end,
            entropy=self.bench.entropy(),
        )

    async def work(self, result: Any = None, **fields: Any) -> int:
        """Do all queued runs of the job `j`; answers how many."""
        runs = await self.claim()
        for run in runs:
            await self.bench.service.perform(self.finishing(run, result, **fields))
        return len(runs)

    async def job_runs(self, run_id: str) -> list[Run]:
        rows = [row for row in (await self.steps(run_id)).values() if row.run_id is not None]
        found = await self.bench.rows("runs_by_id", *[(PROJECT, row.run_id or "") for row in rows])
        return [Run(*each)._replace(status=RunStatus(each[4])) for each in found]

    # ---- people ------------------------------------------------------------------------------

    async def decide(
        self, run_id: str, ref: str, approves: bool, approver: str | None = None, **fields: Any
    ) -> Any:
        number, approval = await self._place(run_id, ref)
        return await self.bench.service.perform(
            DecideStep(
                workflow_run_id=run_id,
                step_ref=ref,
                step=number,
                approval=approval,
                approves=approves,
                approver=approver,
                **self._common(),
                **fields,
            )
        )

    async def skip(self, run_id: str, ref: str) -> Any:
        return await self.bench.service.perform(await self.skipping(run_id, ref))

    async def skipping(self, run_id: str, ref: str) -> SkipStep:
        number, _ = await self._place(run_id, ref)
        return SkipStep(workflow_run_id=run_id, step_ref=ref, step=number, **self._common())

    async def retry(self, run_id: str, ref: str) -> Any:
        number, _ = await self._place(run_id, ref)
        return await self.bench.service.perform(
            RetryStep(workflow_run_id=run_id, step_ref=ref, step=number, **self._common())
        )

    def canceling(self, run_id: str) -> CancelWorkflowRun:
        return CancelWorkflowRun(workflow_run_id=run_id, **self._common())

    async def cancel(self, run_id: str) -> Any:
        return await self.bench.service.perform(self.canceling(run_id))

    async def pause(self, run_id: str, paused: bool = True) -> Any:
        return await self.bench.service.perform(
            SwitchWorkflowRun(workflow_run_id=run_id, paused=paused, **self._common())
        )

    async def again(self, run_id: str) -> str:
        """A new run that keeps what this one has done."""
        definition = await self._definition(run_id)
        run = await self.bench.service.perform(
            RetryWorkflowRun(
                workflow_run_id=run_id,
                steps=len(definition.steps),
                timeout_secs=definition.timeout_secs,
                **self._common(),
            )
        )
        return str(run.id)

    async def _definition(self, run_id: str) -> Any:
        run = await self.run(run_id)
        version = await self.bench.rows(
            "workflow_versions_by_id", (PROJECT, run.workflow_id, str(run.workflow_version))
        )
        return await self.bench.service.definition(WorkflowVersion(*version[0]))

    async def _place(self, run_id: str, ref: str) -> tuple[int, Approval | None]:
        definition = await self._definition(run_id)
        number = definition.places[ref]
        work = definition.steps[number].work
        return number, work if isinstance(work, Approval) else None

    # ---- time and messages -------------------------------------------------------------------

    async def messages(self) -> int:
        """Consume messages until there are none; answers in how many rounds."""
        rounds = 0
        while await self.bench.service.read(self.pending):
            await self._messages.round()
            rounds += 1
            assert rounds < 1_000
        return rounds

    async def after(self, secs: float) -> None:
        """Time goes on, and what is due by then happens."""
        self.bench.clock.advance(secs=secs)
        for role in self._expiry:
            await role.round()

    def _common(self) -> dict[str, Any]:
        return {"actor": DEV, "project_id": PROJECT, "entropy": self.bench.entropy()}
