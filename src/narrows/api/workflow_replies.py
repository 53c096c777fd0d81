"""Replies about workflows and their runs that need more than the record at hand: definitions, payloads in rows
of their own, names of others. Pure rendering is in `workflow_render.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from narrows.api import idempotency, workflow_render
from narrows.api.batch import IN_THREAD_BYTES
from narrows.api.replies import encode
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import Workflow, WorkflowRun
from narrows.operations import reads
from narrows.operations.base import Replayed
from narrows.operations.idempotency import Kept
from narrows.wire import workflow_messages as wire

if TYPE_CHECKING:
    from narrows.api.call import Call
    from narrows.api.routing import Reply
    from narrows.operations.service import Service


class _KeptId(msgspec.Struct):
    """What an Idempotency-Key keeps of a reply that is rendered again."""

    id: str


async def workflow(record: Workflow, definition: str, status: int = 200) -> Reply:
    """The reply of whatever answers with one workflow."""
    if len(definition) > IN_THREAD_BYTES:
        return status, await asyncio.to_thread(_workflow, record, definition)
    return status, _workflow(record, definition)


def _workflow(record: Workflow, definition: str) -> bytes:
    return encode(workflow_render.workflow(record, definition))


async def definition_of(service: Service, run: WorkflowRun) -> Definition:
    """The definition by which a run goes."""
    version = reads.GetWorkflowVersion(run.project_id, run.workflow_id, run.workflow_version)
    return await service.definition(await service.read(version))


async def workflow_runs(service: Service, found: Sequence[WorkflowRun]) -> list[wire.WorkflowRun]:
    """Workflow runs, complete, by one look for all of them."""
    shown = await service.read(reads.ShowWorkflowRuns(tuple(found)))
    return [workflow_render.workflow_run(each) for each in shown]


async def workflow_run(call: Call, project_id: str, workflow_run_id: str, status: int = 200) -> Reply:
    """The reply of whatever answers with one workflow run: as it is now, whatever has followed already."""
    found = await call.service.read(reads.GetWorkflowRun(project_id, workflow_run_id))
    (shown,) = await workflow_runs(call.service, (found,))
    return status, encode(shown)


async def step(call: Call, run: WorkflowRun, definition: Definition, place: int) -> Reply:
    """The reply of whatever answers with one step, as it is now."""
    shown = await call.service.read(
        reads.WorkflowRunSteps(run.project_id, run.id, definition.steps[place].ref)
    )
    return 200, encode(workflow_render.step(shown, definition, place))


async def perform(call: Call, operation: Any, status: int, key_in_body: str | None = None) -> str:
    """Perform what answers with a workflow run, and answer with its id. Of a reply its id is kept, and it is
    rendered again for a repeat."""

    def keep(run: WorkflowRun) -> Kept:
        return Kept(status=status, reply=encode(_KeptId(run.id)).decode())

    outcome = await idempotency.perform(call, operation, keep, key_in_body)
    if isinstance(outcome, Replayed):
        call.extra_headers.append(idempotency.REPLAYED)
        return msgspec.json.decode(outcome.record.reply or "{}", type=_KeptId).id
    workflow_run_id: str = outcome.id
    return workflow_run_id
