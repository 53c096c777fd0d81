"""Short words for workflows and their runs over a bench, for whatever test needs one in some state."""

from __future__ import annotations

import json
from typing import Any

from narrows.core.states import WORKFLOW_RUN_ENDED
from narrows.core.workflow_records import Step, Workflow, WorkflowRun
from narrows.core.workflow_steps import Approval
from narrows.engine.consume import ConsumeMessagesRole
from narrows.operations.base import DEV
from narrows.operations.reads import (
    GetWorkflow,
    GetWorkflowRun,
    GetWorkflowVersion,
    ListWorkflowRuns,
    PendingMessages,
    WorkflowRunSteps,
)
from narrows.operations.steps import DecideStep, RetryStep, SkipStep
from narrows.operations.workflow_runs import (
    CancelWorkflowRun,
    RetryWorkflowRun,
    SwitchWorkflowRun,
    TriggerWorkflow,
)
from narrows.operations.workflows import CreateWorkflow, DeleteWorkflow, UpdateWorkflow
from tests.storage.kit import PROJECT, Bench


class Workflows:
    """What a test does with the workflows of one project."""

    def __init__(self, bench: Bench, project_id: str = PROJECT) -> None:
        self.bench = bench
        self.project_id = project_id
        self._consume = ConsumeMessagesRole(bench.service)

    def _common(self) -> dict[str, Any]:
        return {"actor": DEV, "project_id": self.project_id, "entropy": self.bench.entropy()}

    async def _defined(self, slug: str, steps: tuple[dict[str, Any], ...], fields: dict[str, Any]) -> Any:
        text = json.dumps({"slug": slug, **fields, "steps": steps})
        parsed = await self.bench.service.check_definition(text)
        assert parsed.definition is not None, parsed.faults
        return {"text": text, "definition": parsed.definition}

    async def _definition(self, run: WorkflowRun) -> Any:
        version = await self.bench.store.read(
            GetWorkflowVersion(self.project_id, run.workflow_id, run.workflow_version)
        )
        return await self.bench.service.definition(version)

    # ---- workflows -------------------------------------------------------------------------

    async def create(self, slug: str, *steps: dict[str, Any], **fields: Any) -> Workflow:
        operation = CreateWorkflow(**self._common(), **await self._defined(slug, steps, fields))
        workflow: Workflow = await self.bench.service.perform(operation)
        return workflow

    async def update(self, workflow: Workflow, *steps: dict[str, Any], **fields: Any) -> Workflow:
        defined = await self._defined(workflow.slug, steps, fields)
        operation = UpdateWorkflow(
            **self._common(), workflow=workflow.id, base_version=workflow.version, **defined
        )
        updated: Workflow = await self.bench.service.perform(operation)
        return updated

    async def delete(self, slug: str) -> Workflow:
        deleted: Workflow = await self.bench.service.perform(DeleteWorkflow(**self._common(), workflow=slug))
        return deleted

    # ---- their runs ------------------------------------------------------------------------

    async def triggering(self, slug: str, payload: str | None = None, **fields: Any) -> TriggerWorkflow:
        workflow, version = await self.bench.store.read(GetWorkflow(self.project_id, slug))
        definition = await self.bench.service.definition(version)
        return TriggerWorkflow(
            **self._common(),
            workflow=slug,
            version=workflow.version,
            definition=definition,
            payload=payload,
            **fields,
        )

    async def trigger(self, slug: str, payload: str | None = None, **fields: Any) -> WorkflowRun:
        made: WorkflowRun = await self.bench.service.perform(await self.triggering(slug, payload, **fields))
        return await self.get(made)

    async def cancel(self, run: WorkflowRun) -> WorkflowRun:
        await self.bench.service.perform(CancelWorkflowRun(**self._common(), workflow_run_id=run.id))
        return await self.get(run)

    async def switch(self, run: WorkflowRun, *, paused: bool) -> WorkflowRun:
        operation = SwitchWorkflowRun(**self._common(), workflow_run_id=run.id, paused=paused)
        await self.bench.service.perform(operation)
        return await self.get(run)

    async def retry(self, run: WorkflowRun) -> WorkflowRun:
        definition = await self._definition(run)
        operation = RetryWorkflowRun(
            **self._common(),
            workflow_run_id=run.id,
            steps=len(definition.steps),
            timeout_secs=definition.timeout_secs,
        )
        made: WorkflowRun = await self.bench.service.perform(operation)
        return await self.get(made)

    async def _at(self, run: WorkflowRun, step_ref: str) -> dict[str, Any]:
        place = (await self._definition(run)).places[step_ref]
        return {**self._common(), "workflow_run_id": run.id, "step_ref": step_ref, "step": place}

    async def skip(self, run: WorkflowRun, step_ref: str) -> WorkflowRun:
        await self.bench.service.perform(SkipStep(**await self._at(run, step_ref)))
        return await self.get(run)

    async def retry_step(self, run: WorkflowRun, step_ref: str) -> WorkflowRun:
        await self.bench.service.perform(RetryStep(**await self._at(run, step_ref)))
        return await self.get(run)

    async def decide(self, run: WorkflowRun, step_ref: str, approver: str, *, approves: bool) -> WorkflowRun:
        definition, at = await self._definition(run), await self._at(run, step_ref)
        work = definition.steps[at["step"]].work
        approval = work if isinstance(work, Approval) else None
        operation = DecideStep(**at, approval=approval, approves=approves, approver=approver)
        await self.bench.service.perform(operation)
        return await self.get(run)

    async def consume(self) -> None:
        """All messages that there are, and those that come of them."""
        while await self.bench.store.read(PendingMessages(1)):
            await self._consume.round()

    # ---- as they are now -------------------------------------------------------------------

    async def get(self, run: WorkflowRun) -> WorkflowRun:
        found: WorkflowRun = await self.bench.store.read(GetWorkflowRun(run.project_id, run.id))
        return found

    async def steps(self, run: WorkflowRun) -> dict[str, Step]:
        """The rows of its steps, by their names."""
        shown = await self.bench.store.read(WorkflowRunSteps(run.project_id, run.id))
        return {step.step_ref: step for step in shown.steps}

    async def children(self, run: WorkflowRun) -> tuple[WorkflowRun, ...]:
        page = await self.bench.store.read(ListWorkflowRuns(project_id=run.project_id, parent=run.id))
        return tuple(page.items)

    async def living(self) -> list[WorkflowRun]:
        page = await self.bench.store.read(ListWorkflowRuns(project_id=self.project_id))
        return [run for run in page.items if run.status not in WORKFLOW_RUN_ENDED]
