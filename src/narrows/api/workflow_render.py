"""Workflows, their runs and steps as messages of the contract. Pure, like `render.py`: what has to be read for
it is handed in (`workflow_replies.py` reads)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Raw

from narrows.api import render
from narrows.core.graphs import members
from narrows.core.json_texts import NULL, Document
from narrows.core.records import Fact
from narrows.core.step_states import statuses
from narrows.core.step_waits import votes_from_text
from narrows.core.workflow_definitions import Definition, Parsed
from narrows.core.workflow_records import Step, Workflow, WorkflowRun
from narrows.core.workflow_steps import StepDefinition
from narrows.operations.reads import ShownSteps, ShownWorkflowRun
from narrows.wire import workflow_messages as wire


def workflow(record: Workflow, definition: str | None = None) -> wire.Workflow:
    """A workflow; with what only its definition says where that is at hand."""
    shown = wire.Workflow(
        id=record.id,
        project_id=record.project_id,
        slug=record.slug,
        name=record.name,
        description=record.description,
        tags=render.object_or_nothing(record.tags),
        version=record.version,
        created_at=render.time(record.created_at),
        updated_at=render.time(record.updated_at),
    )
    if definition is not None:
        given = Document(definition).members
        shown.timeout_secs = _whole(given, "timeout_secs")
        shown.max_parallel_steps = _whole(given, "max_parallel_steps")
        shown.steps = Raw(given["steps"].text)  # type: ignore[assignment]  # it goes out as it was sent
    return shown


def _whole(given: Mapping[str, Document], name: str) -> int:
    """A whole number of a definition; left out, or null, it is 0."""
    return json.loads(given[name].text if name in given else NULL) or 0


def dry_run(parsed: Parsed, faults: Sequence[str], notes: Sequence[str]) -> wire.DryRun:
    definition = None if faults else parsed.definition
    if definition is None:
        return wire.DryRun(valid=False, order=[], depth=0, faults=list(faults), notes=list(notes))
    order = [definition.steps[place].ref for place in definition.order]
    return wire.DryRun(valid=True, order=order, depth=definition.depth, faults=[], notes=list(notes))


def workflow_run(shown: ShownWorkflowRun) -> wire.WorkflowRun:
    """A workflow run, with its payload where it is at hand."""
    record = shown.run
    return wire.WorkflowRun(
        id=record.id,
        project_id=record.project_id,
        workflow_id=record.workflow_id,
        workflow_slug=shown.workflow_slug,
        workflow_version=record.workflow_version,
        status=render.word(record.status),
        payload=render.raw(record.payload),
        tags=render.object_or_nothing(record.tags),
        error=record.error,
        parent_workflow_run_id=record.parent_run_id,
        parent_step_ref=shown.parent_step_ref,
        depth=record.depth,
        retry_of=record.retry_of,
        created_by=record.created_by,
        created_at=render.time(record.created_at),
        due_at=render.time(record.due_at),
        finished_at=render.time(record.finished_at),
    )


def steps(shown: ShownSteps, definition: Definition) -> wire.WorkflowSteps:
    """Every step of the definition, in its order."""
    left_out = any(each.output_id is not None for each in shown.steps[shown.with_output :])
    return wire.WorkflowSteps(
        data=_steps(shown, definition, range(len(definition.steps))), outputs_left_out=left_out or None
    )


def step(shown: ShownSteps, definition: Definition, place: int) -> wire.WorkflowStep:
    (one,) = _steps(shown, definition, (place,))
    return one


def _steps(shown: ShownSteps, definition: Definition, places: Iterable[int]) -> list[wire.WorkflowStep]:
    rows, states = {row.step: row for row in shown.steps}, statuses(shown.run.steps)
    if shown.run.finished_at is not None:
        # What had no turn any more when the run ended, has its state in the run alone.
        rows = {place: row._replace(status=states[place]) for place, row in rows.items()}
    return [
        _begun(rows[place], definition.steps[place], shown.event_keys.get(place, ()))
        if place in rows
        else wire.WorkflowStep(
            id=f"{shown.run.id}:{definition.steps[place].ref}",
            workflow_run_id=shown.run.id,
            step_ref=definition.steps[place].ref,
            step_type=render.word(definition.steps[place].type),
            status=render.word(states[place]),
            depends_on=list(definition.steps[place].depends_on) or None,
        )
        for place in places
    ]


def _begun(record: Step, definition: StepDefinition, event_keys: Sequence[str]) -> wire.WorkflowStep:
    """A step that has a row."""
    votes = [
        wire.Vote(
            approver=each.approver, approved=each.approves, comment=each.comment, at=render.time(each.at)
        )
        for each in votes_from_text(record.votes)
    ]
    return wire.WorkflowStep(
        id=record.id,
        workflow_run_id=record.workflow_run_id,
        step_ref=record.step_ref,
        step_type=render.word(record.step_type),
        status=render.word(record.status),
        attempt=record.attempt,
        depends_on=list(definition.depends_on) or None,
        output=render.raw(record.output),
        error=record.error,
        votes=votes or None,
        run_id=record.run_id,
        child_workflow_run_id=record.child_run_id,
        event_keys=list(event_keys) or None,
        created_at=render.time(record.created_at),
        started_at=render.time(record.started_at),
        finished_at=render.time(record.finished_at),
    )


def workflow_run_event(fact: Fact) -> wire.WorkflowRunEvent:
    """A step's fact is about `<workflow run id>:<step_ref>`."""
    return wire.WorkflowRunEvent(
        id=fact.id,
        kind=fact.kind,
        step_ref=fact.subject_id.partition(":")[2] or None,
        at=render.time(fact.at),
        actor=fact.actor,
        detail=render.raw(fact.detail),
    )


def graph(run: WorkflowRun, definition: Definition) -> wire.WorkflowGraph:
    """The states are those of the run's own row: of all steps at one moment."""
    states, depths = statuses(run.steps), [0] * len(definition.steps)
    for place in definition.order:
        above = (depths[each] for each in members(definition.graph.dependencies[place]))
        depths[place] = 1 + max(above, default=0)
    return wire.WorkflowGraph(
        workflow_run_id=run.id,
        status=render.word(run.status),
        nodes=[
            wire.GraphNode(
                step_ref=each.ref,
                step_type=render.word(each.type),
                status=render.word(states[place]),
                depth=depths[place],
                condition=each.condition,
            )
            for place, each in enumerate(definition.steps)
        ],
        edges=[
            wire.GraphEdge(from_=ref, to=each.ref) for each in definition.steps for ref in each.depends_on
        ],
    )
