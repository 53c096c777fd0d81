"""What is asked about workflows: definitions, runs, what people decide, and the messages between them."""

from __future__ import annotations

from typing import Any

from narrows.core.run_records import Message
from narrows.core.states import MessageKind
from narrows.core.workflow_records import Workflow
from narrows.operations.definitions import Definitions
from narrows.operations.events import SendEvent
from narrows.operations.messages import (
    BY_MESSAGE_ALONE,
    MessageOperation,
    StartSubWorkflow,
)
from narrows.operations.workflow_runs import ExpireWorkflowRuns, TriggerWorkflow
from narrows.operations.workflows import CreateWorkflow, DeleteWorkflow, UpdateWorkflow
from tests.differential.asks_of_runs import SLUGS
from tests.differential.scene import KEYS, Scene
from tests.simulation.values import INTEGER_SCHEMA, OBJECT_SCHEMA
from tests.simulation.workflow_asking import PREFIXES, Asking
from tests.simulation.workflow_plans import TYPES, Drawing, Plan

#: Each may start those behind it.
WORKFLOWS = ("w0", "w1", "w2")
SCHEMAS = (*(None,) * 8, INTEGER_SCHEMA, OBJECT_SCHEMA)
#: No side's own: what is asked does not come from a database.
READING = Definitions()


def asking(scene: Scene, project_id: str) -> Asking:
    return Asking(scene.rng, scene.oracle, project_id, lambda: scene.common(project_id))


def _plan(scene: Scene, slug: str) -> Plan:
    drawing = Drawing(scene.rng, KEYS[:7], PREFIXES, SLUGS, {**TYPES, "sub_workflow": 8})
    plan = drawing.plan(slug, WORKFLOWS[WORKFLOWS.index(slug) + 1 :], SCHEMAS)
    parsed = READING.check(plan.text())
    assert parsed.definition is not None, parsed.faults
    plan.definition = parsed.definition
    scene.oracle.plans[plan.text()] = plan
    return plan


def creating_workflow(scene: Scene) -> CreateWorkflow:
    plan = _plan(scene, scene.pick(WORKFLOWS))
    return CreateWorkflow(**scene.common(), text=plan.text(), definition=plan.definition)


def updating_workflow(scene: Scene) -> UpdateWorkflow | None:
    project_id = scene.project()
    workflows = asking(scene, project_id).workflows()
    if not workflows:
        return None
    workflow = scene.pick(workflows)
    plan = _plan(scene, workflow.plan.slug)
    return UpdateWorkflow(
        **scene.common(project_id),
        workflow=scene.pick((workflow.plan.slug, workflow.id)),
        base_version=workflow.version + scene.happens(0.1),
        text=plan.text(),
        definition=plan.definition,
    )


def deleting_workflow(scene: Scene) -> DeleteWorkflow:
    return DeleteWorkflow(**scene.common(), workflow=scene.pick((*WORKFLOWS, "nobody")))


def triggering_workflow(scene: Scene) -> TriggerWorkflow | None:
    return asking(scene, scene.project()).start()


def sending_to_step(scene: Scene) -> SendEvent | None:
    return asking(scene, scene.project()).send()


def deciding(scene: Scene) -> Any:
    return asking(scene, scene.project()).decision()


def expiring_workflow_runs(scene: Scene) -> ExpireWorkflowRuns:
    runs = list(scene.oracle.workflow_runs.values())
    due = [run for run in runs if run.due_at is not None and run.due_at <= scene.now]
    some = {run.id: run for run in (*scene.some(due, 4), *scene.some(runs, 2))}
    ids = tuple((run.project_id, run.id) for run in some.values())
    return ExpireWorkflowRuns(ids=ids, entropy=scene.entropy())


def all_that_are_over(scene: Scene) -> ExpireWorkflowRuns | None:
    runs = scene.oracle.workflow_runs.values()
    due = [run for run in runs if run.due_at is not None and run.due_at <= scene.now]
    ids = tuple((run.project_id, run.id) for run in due)
    return ExpireWorkflowRuns(ids=ids, entropy=scene.entropy()) if ids else None


def consuming(scene: Scene) -> MessageOperation | None:
    """A message between workflow runs: mostly one that is there still."""
    found = [each for each in scene.messages if each.kind != MessageKind.CANCEL_RUNS_OF_JOB]
    there = [each for each in found if each.id in scene.oracle.messages]
    if not found:
        return None
    message = scene.pick(there if there and scene.happens(0.9) else found)
    known = scene.oracle.messages.get(message.id)
    if known is not None:
        message = message._replace(payload=known.payload)  # as it is read, also from a row of its own
    return _consuming(scene, message)


def _consuming(scene: Scene, message: Message) -> MessageOperation:
    common: dict[str, Any] = {"message": message, "entropy": scene.entropy()}
    if (operation := BY_MESSAGE_ALONE.get(message.kind)) is not None:
        return operation(**common)
    slug = MessageOperation(**common).body["workflow_slug"]
    found = [each for each in asking(scene, message.project_id).workflows() if each.plan.slug == slug]
    if not found or scene.happens(0.05):
        return StartSubWorkflow(**common, workflow=None, definition=None)
    read = found[0]
    record = Workflow(read.project_id, read.id, slug, None, None, None, read.version, 0, 0, None)
    return StartSubWorkflow(**common, workflow=record, definition=read.plan.definition)


#: Function -> how often it is asked.
OF_WORKFLOWS = {
    creating_workflow: 5, updating_workflow: 2, deleting_workflow: 2, triggering_workflow: 26, sending_to_step: 30,
    deciding: 30, expiring_workflow_runs: 4, consuming: 26,
}  # fmt: skip
#: Those that a request with an Idempotency-Key may be for.
ONCE = (triggering_workflow,)
