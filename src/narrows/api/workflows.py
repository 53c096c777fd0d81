"""`/v1/workflows`: definitions of workflows, by slug or id, and the call that starts a run of one. What a
definition may say is decided by `core`; here it is checked what only the border knows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import msgspec

from narrows.api import bodies, idempotency, replies, workflow_bodies, workflow_render, workflow_replies
from narrows.api.batch import IN_THREAD_BYTES
from narrows.api.call import Call
from narrows.api.deliveries import check_can_sign
from narrows.api.jobs import tags_text
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.api.workflow_bodies import Texts
from narrows.core.json_texts import object_of
from narrows.core.workflow_definitions import Definition, Parsed
from narrows.core.workflow_records import Workflow
from narrows.errors import InvalidRequest, NotFound, Unavailable
from narrows.operations import reads
from narrows.operations.base import Replayed
from narrows.operations.idempotency import Kept
from narrows.operations.workflow_runs import Superseded, TriggerWorkflow
from narrows.operations.workflows import CreateWorkflow, DeleteWorkflow, UpdateWorkflow
from narrows.wire import workflow_messages as wire

#: A trigger whose workflow gets one version after the other is given up.
MAX_ROUNDS: Final = 8


async def list_workflows(call: Call) -> Reply:
    """List workflows, newest first."""
    limit, cursor = call.page()
    found = await call.service.read(
        reads.ListWorkflows(project_id=await call.project(), limit=limit, cursor=cursor)
    )
    return replies.page(wire.WorkflowPage, found, [workflow_render.workflow(each) for each in found.items])


async def create_workflow(call: Call) -> Reply:
    """Create a workflow."""
    members = await _members(call)
    project_id = await call.project(workflow_bodies.project_of(members))
    text = workflow_bodies.definition_text(members)
    operation = CreateWorkflow(
        actor=call.credential.actor,
        project_id=project_id,
        entropy=call.entropy(),
        text=text,
        definition=await _good_definition(call, project_id, members, text),
    )
    outcome = await idempotency.perform(call, operation, _keep_new_workflow)
    if isinstance(outcome, Replayed):
        call.extra_headers.append(idempotency.REPLAYED)
        outcome = Workflow(*msgspec.json.decode(outcome.record.reply or "[]"))
    return await workflow_replies.workflow(outcome, text, 201)


def _keep_new_workflow(made: Workflow) -> Kept:
    """All but the definition: a repeat comes with the same."""
    return Kept(status=201, reply=encode(tuple(made)).decode())


async def get_workflow(call: Call) -> Reply:
    """Get a workflow by its slug or id, with its newest definition."""
    found, version = await call.service.read(reads.GetWorkflow(await call.project(), call.param))
    return await workflow_replies.workflow(found, version.definition)


async def update_workflow(call: Call) -> Reply:
    """Change a workflow; what is left out stays as it is."""
    members = await _members(call)
    project_id = await call.project(workflow_bodies.project_of(members))
    found, version = await call.service.read(reads.GetWorkflow(project_id, call.param))
    merged = workflow_bodies.merged(version.definition, members)
    text = workflow_bodies.definition_text(merged)
    if text == version.definition:
        return await workflow_replies.workflow(found, text)  # nothing to change: no new version
    operation = UpdateWorkflow(
        actor=call.credential.actor,
        project_id=project_id,
        entropy=call.entropy(),
        workflow=found.id,
        base_version=version.version,
        text=text,
        definition=await _good_definition(call, project_id, merged, text),
    )
    return await workflow_replies.workflow(await call.perform(operation), text)


async def delete_workflow(call: Call) -> Reply:
    """Delete a workflow; its runs go on to their end."""
    operation = DeleteWorkflow(
        actor=call.credential.actor,
        project_id=await call.project(),
        entropy=call.entropy(),
        workflow=call.param,
    )
    return 200, encode(workflow_render.workflow(await call.perform(operation)))


async def dry_run_workflow(call: Call) -> Reply:
    """Check a definition without saving it."""
    members = await _members(call)
    project_id = await call.project(workflow_bodies.project_of(members))
    parsed, faults = await _check(call, members, object_of(members.items()))
    notes = list(parsed.notes)
    if parsed.definition is not None:
        named = reads.MissingNames(project_id, workflow_bodies.names_in(parsed.definition))
        notes += workflow_bodies.missing_notes(parsed.definition, await call.service.read(named))
    return 200, encode(workflow_render.dry_run(parsed, faults, notes))


async def _members(call: Call) -> Texts:
    """The body as the texts of its members. Megabytes are read on a thread: meanwhile others are answered."""
    body = await call.body()
    if len(body) > IN_THREAD_BYTES:
        return await asyncio.to_thread(workflow_bodies.members_of, body)
    return workflow_bodies.members_of(body)


async def _check(call: Call, members: Texts, text: str) -> tuple[Parsed, list[str]]:
    """The definition, and every fault of it."""
    parsed = await call.service.check_definition(text)
    faults = [*parsed.faults, *workflow_bodies.border_faults(members)]
    if parsed.definition is not None:
        faults += workflow_bodies.target_faults(parsed.definition, call.api.settings.guard)
    return parsed, faults


async def _good_definition(call: Call, project_id: str, members: Texts, text: str) -> Definition:
    """A definition that may be saved. Raises InvalidRequest with every fault."""
    parsed, faults = await _check(call, members, text)
    if faults or parsed.definition is None:
        count = "a fault" if len(faults) == 1 else f"{len(faults):,} faults"
        raise InvalidRequest(
            f"The definition has {count}; mend what is told below, or send it to /v1/workflows/dry-run first.",
            details=faults,
        )
    if workflow_bodies.notifies(parsed.definition):
        await check_can_sign(call, project_id)
    return parsed.definition


async def trigger_workflow(call: Call) -> Reply:
    """Start a run of a workflow."""
    body = await bodies.decode(call, workflow_bodies.TRIGGER_WORKFLOW)
    project_id = await call.project(body.project_id)
    await call.service.check_expressions()
    operation = TriggerWorkflow(
        actor=call.credential.actor,
        project_id=project_id,
        entropy=call.entropy(),
        workflow=call.param,
        workflow_id="",
        version=0,
        definition=None,
        payload=bodies.payload_text(body.payload),
        tags=tags_text(body.tags),
    )
    for _ in range(MAX_ROUNDS):
        workflow_id, version, definition = await _newest(call, project_id)
        operation = replace(operation, workflow_id=workflow_id, version=version, definition=definition)
        try:
            run_id = await workflow_replies.perform(call, operation, 201, body.idempotency_key)
        except Superseded:
            continue  # it got another version in between
        return await workflow_replies.workflow_run(call, project_id, run_id, 201)
    raise Unavailable("The workflow keeps changing. Trigger it again.", retry_after_secs=1)


async def _newest(call: Call, project_id: str) -> tuple[str, int, Definition | None]:
    """The newest version. Without one the operation says so itself, unless it was done before and the workflow
    deleted since: then its repeat is answered."""
    try:
        found, version = await call.service.read(reads.GetWorkflow(project_id, call.param))
    except NotFound:
        return "", 0, None
    return found.id, found.version, await call.service.definition(version)
