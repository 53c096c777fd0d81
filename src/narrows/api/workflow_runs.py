"""`/v1/workflow-runs`: executions of workflows, looked at step by step, paused, canceled, tried again; and what
people decide of their steps."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from narrows.api import bodies, replies, workflow_bodies, workflow_render, workflow_replies
from narrows.api.call import Call
from narrows.api.checks import check_plain, choice, stated
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core.states import WorkflowRunStatus
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import WorkflowRun
from narrows.core.workflow_steps import Approval
from narrows.errors import NotFound
from narrows.operations import reads
from narrows.operations.steps import DecideStep, RetryStep, SkipStep
from narrows.operations.workflow_runs import CancelWorkflowRun, RetryWorkflowRun, SwitchWorkflowRun
from narrows.wire import workflow_messages as wire

STATUSES: Final = tuple(WorkflowRunStatus)


async def list_workflow_runs(call: Call) -> Reply:
    """List workflow runs, newest first."""
    query = call.query
    limit, cursor = call.page()
    found = await call.service.read(
        reads.ListWorkflowRuns(
            project_id=await call.project(),
            status=choice(stated(query, "status"), "status", STATUSES),
            workflow=stated(query, "workflow"),
            tag=stated(query, "tag"),
            parent=stated(query, "parent_workflow_run_id"),
            limit=limit,
            cursor=cursor,
        )
    )
    shown = await workflow_replies.workflow_runs(call.service, found.items)
    return replies.page(wire.WorkflowRunPage, found, shown)


async def get_workflow_run(call: Call) -> Reply:
    """Get a workflow run by its id."""
    return await workflow_replies.workflow_run(call, await call.project(), call.param)


async def list_workflow_run_events(call: Call) -> Reply:
    """List what happened to a workflow run and its steps, newest first."""
    limit, cursor = call.page()
    read = reads.WorkflowRunTimeline(
        project_id=await call.project(), workflow_run_id=call.param, limit=limit, cursor=cursor
    )
    found = await call.service.read(read)
    events = [workflow_render.workflow_run_event(each) for each in found.items]
    return replies.page(wire.WorkflowRunEventPage, found, events)


async def get_workflow_run_graph(call: Call) -> Reply:
    """Get the steps of a workflow run as a graph, for a picture."""
    run, definition = await _run(call, await call.project())
    return 200, encode(workflow_render.graph(run, definition))


# ---- the run as a whole --------------------------------------------------------------------------


async def cancel_workflow_run(call: Call) -> Reply:
    """Cancel a workflow run, and whatever goes on of it."""
    project_id = await call.project()
    operation = CancelWorkflowRun(**_asked(call, project_id), workflow_run_id=call.param)
    await call.perform(operation)
    return await workflow_replies.workflow_run(call, project_id, call.param)


async def pause_workflow_run(call: Call) -> Reply:
    """Let nothing new start in a workflow run."""
    return await _switch(call, paused=True)


async def resume_workflow_run(call: Call) -> Reply:
    """Let a paused workflow run go on."""
    return await _switch(call, paused=False)


async def _switch(call: Call, *, paused: bool) -> Reply:
    body = await bodies.decode(call, workflow_bodies.WORKFLOW_RUN)
    project_id = await call.project(body.project_id)
    operation = SwitchWorkflowRun(**_asked(call, project_id), workflow_run_id=call.param, paused=paused)
    run_id = await workflow_replies.perform(call, operation, 200)
    return await workflow_replies.workflow_run(call, project_id, run_id)


async def retry_workflow_run(call: Call) -> Reply:
    """Start a new run that keeps what an ended one has done."""
    body = await bodies.decode(call, workflow_bodies.WORKFLOW_RUN)
    project_id = await call.project(body.project_id)
    await call.service.check_expressions()
    run, definition = await _run(call, project_id)
    operation = RetryWorkflowRun(
        **_asked(call, project_id),
        workflow_run_id=run.id,
        steps=len(definition.steps),
        timeout_secs=definition.timeout_secs,
    )
    run_id = await workflow_replies.perform(call, operation, 201)
    return await workflow_replies.workflow_run(call, project_id, run_id, 201)


async def _run(call: Call, project_id: str) -> tuple[WorkflowRun, Definition]:
    """The workflow run of the path, and the definition that it goes by."""
    run = await call.service.read(reads.GetWorkflowRun(project_id, call.param))
    return run, await workflow_replies.definition_of(call.service, run)


def _asked(call: Call, project_id: str) -> dict[str, Any]:
    """Who asks, as each operation has it."""
    return {"actor": call.credential.actor, "project_id": project_id, "entropy": call.entropy()}


# ---- its steps -----------------------------------------------------------------------------------


class _Step(NamedTuple):
    """The step of the path."""

    run: WorkflowRun
    definition: Definition
    place: int


async def list_workflow_run_steps(call: Call) -> Reply:
    """List the steps of a workflow run, in the order of its definition."""
    shown = await call.service.read(reads.WorkflowRunSteps(await call.project(), call.param))
    definition = await workflow_replies.definition_of(call.service, shown.run)
    return 200, encode(workflow_render.steps(shown, definition))


async def get_workflow_run_step(call: Call) -> Reply:
    """Get one step of a workflow run."""
    return await workflow_replies.step(call, *await _step(call, await call.project()))


async def approve_step(call: Call) -> Reply:
    """Approve a step that waits for it."""
    return await _decide(call, approves=True)


async def reject_step(call: Call) -> Reply:
    """Reject a step that waits for approval."""
    return await _decide(call, approves=False)


async def _decide(call: Call, *, approves: bool) -> Reply:
    body = await bodies.decode(call, workflow_bodies.DECISION)
    project_id = await call.project(body.project_id)
    step = await _step(call, project_id)
    work = step.definition.steps[step.place].work
    operation = DecideStep(
        **_asked_of(call, step),
        approval=work if isinstance(work, Approval) else None,
        approves=approves,
        approver=check_plain(body.approver, "approver"),
        comment=body.comment,
    )
    await workflow_replies.perform(call, operation, 200)
    return await workflow_replies.step(call, *step)


async def skip_step(call: Call) -> Reply:
    """End a step as skipped; what depends on it goes on without it."""
    return await _change(call, SkipStep)


async def retry_step(call: Call) -> Reply:
    """Give a step that has ended badly another turn."""
    return await _change(call, RetryStep)


async def _change(call: Call, kind: type[SkipStep | RetryStep]) -> Reply:
    body = await bodies.decode(call, workflow_bodies.WORKFLOW_RUN)
    step = await _step(call, await call.project(body.project_id))
    await workflow_replies.perform(call, kind(**_asked_of(call, step)), 200)
    return await workflow_replies.step(call, *step)


async def _step(call: Call, project_id: str) -> _Step:
    """Raises NotFound where the run, or the step in its definition, is not there."""
    run, definition = await _run(call, project_id)
    place = definition.places.get(call.inner_param)
    if place is None:
        raise NotFound(
            f"The workflow run {run.id} has no step {call.inner_param!r}. List them with "
            f"GET /v1/workflow-runs/{run.id}/steps."
        )
    return _Step(run, definition, place)


def _asked_of(call: Call, step: _Step) -> dict[str, Any]:
    return _asked(call, step.run.project_id) | {
        "workflow_run_id": step.run.id,
        "step_ref": call.inner_param,
        "step": step.place,
    }
