"""Runs of workflows for people: one, the list, its steps, its timeline; and which of them are due, for the
engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from narrows.core.records import Fact, Trigger
from narrows.core.run_records import WaitGroup
from narrows.core.states import StepStatus
from narrows.core.workflow_records import Step, Workflow, WorkflowRun
from narrows.errors import NotFound
from narrows.operations.reads.bodies import fitting_outputs, fitting_workflow_runs, with_outputs, with_payload
from narrows.operations.reads.paging import Page, Walk, bound_of, clamped, look, page_of
from narrows.operations.reads.runs import timeline
from narrows.operations.reads.tags import has_tag, text_of_tag
from narrows.operations.reads.workflows import find_workflow
from narrows.storage.backend import Reader

#: So many event keys of a step that waits are told, and so many of all steps of a run.
MAX_KEYS_OF_STEP: Final = 100
MAX_KEYS: Final = 10_000


class ShownWorkflowRun(NamedTuple):
    """A workflow run with what a reply says of others."""

    run: WorkflowRun
    workflow_slug: str
    parent_step_ref: str | None


class ShownSteps(NamedTuple):
    """The rows of a workflow run's steps, with as many outputs as one reply takes: those of the first
    `with_output` steps. `event_keys` are those that its steps wait for, by the number of the step."""

    run: WorkflowRun
    steps: tuple[Step, ...]
    with_output: int
    event_keys: dict[int, tuple[str, ...]]


class DueWorkflowRun(NamedTuple):
    project_id: str
    id: str
    due_at: int
    steps: int


@dataclass(frozen=True, slots=True)
class GetWorkflowRun:
    """With its payload."""

    project_id: str
    workflow_run_id: str

    async def run(self, reader: Reader) -> WorkflowRun:
        found = await find_workflow_run(reader, self.project_id, self.workflow_run_id)
        (run,) = await with_payload(reader, (found,))
        return run


@dataclass(frozen=True, slots=True)
class ShowWorkflowRuns:
    """The runs with their payloads and with what a reply says of others, in one look for all of them."""

    runs: tuple[WorkflowRun, ...]

    async def run(self, reader: Reader) -> tuple[ShownWorkflowRun, ...]:
        runs = await with_payload(reader, self.runs)
        ids = sorted({(run.project_id, run.workflow_id) for run in runs})
        rows = await reader.load("workflows_by_id", list(ids)) if ids else []
        slugs = {(each.project_id, each.id): each.slug for each in (Workflow(*row) for row in rows)}
        refs = await _parent_refs(reader, runs)
        return tuple(
            ShownWorkflowRun(run, slugs[run.project_id, run.workflow_id], refs.get((run.project_id, run.id)))
            for run in runs
        )


async def _parent_refs(reader: Reader, runs: Sequence[WorkflowRun]) -> dict[tuple[str, str], str]:
    """The names of the steps that sub-workflows belong to, by these."""
    children = [run for run in runs if run.parent_run_id is not None]
    keys = {_parent_key(run) for run in children}
    rows = await reader.load("steps_by_number", sorted(keys)) if keys else []
    found = (Step(*row) for row in rows)
    steps = {(each.project_id, each.workflow_run_id, str(each.step)): each for each in found}
    return {
        (run.project_id, run.id): steps[_parent_key(run)].step_ref
        for run in children
        if _parent_key(run) in steps
    }


def _parent_key(run: WorkflowRun) -> tuple[str, str, str]:
    return run.project_id, run.parent_run_id or "", str(run.parent_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWorkflowRuns:
    """Newest first, with payloads. `workflow` is a slug or an id, `tag` is `name:value` or a `name` with any
    value, `parent` is the run whose sub-workflows are meant; `cursor` is an id or a time. Status and tag have
    no index: each looks at a bounded number of rows and may give a short page."""

    project_id: str
    status: str | None = None
    workflow: str | None = None
    tag: str | None = None
    parent: str | None = None
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[WorkflowRun]:
        limit = clamped(self.limit)
        before = bound_of(self.cursor)
        workflow_id = None
        if self.workflow is not None:
            found = await find_workflow(reader, self.project_id, self.workflow)
            if found is None:
                return Page((), False, None)
            workflow_id = found.id
        rows, looked_to = await look(reader, self._walk(workflow_id), before, limit)
        ids = [row[0] for row in rows]
        return await self._filled(reader, page_of(ids, ids, limit, looked_to))

    def _walk(self, workflow_id: str | None) -> Walk:
        tag_text = None if self.tag is None else text_of_tag(self.tag)
        filters = {"project_id": self.project_id, "status": self.status, "tag_text": tag_text}
        is_bounded = (self.status, self.tag) != (None, None)
        if self.parent is not None:
            of_parent = {"workflow_id": workflow_id, "parent_run_id": self.parent}
            return Walk("list_workflow_runs_of_parent_page", None, filters | of_parent)
        if workflow_id is not None:
            floor = "list_workflow_runs_of_workflow_floor" if is_bounded else None
            return Walk("list_workflow_runs_of_workflow_page", floor, filters | {"workflow_id": workflow_id})
        return Walk("list_workflow_runs_page", "list_workflow_runs_floor" if is_bounded else None, filters)

    async def _filled(self, reader: Reader, page: Page[str]) -> Page[WorkflowRun]:
        """The runs of a page of ids, as many as stay within its size."""
        found = await reader.load("workflow_runs_by_id", [(self.project_id, each) for each in page.items])
        holding = (run for row in found if self._holds(run := WorkflowRun(*row)))
        runs = sorted(holding, key=lambda run: run.id, reverse=True)
        fitting = await fitting_workflow_runs(reader, runs)
        items = await with_payload(reader, runs[:fitting])
        if fitting < len(runs):
            return Page(items, True, items[-1].id)
        return Page(items, page.has_more, page.next_cursor)

    def _holds(self, run: WorkflowRun) -> bool:
        """Whether it still is what was asked for: it may have gone on meanwhile."""
        return self.status in (None, run.status) and (self.tag is None or has_tag(run.tags, self.tag))


@dataclass(frozen=True, slots=True)
class WorkflowRunSteps:
    """The steps that have begun, in the order of the definition, with their outputs and what they wait for.
    With a `step_ref` only that one."""

    project_id: str
    workflow_run_id: str
    step_ref: str | None = None

    async def run(self, reader: Reader) -> ShownSteps:
        # The run first: what began in between has a row that is newer than its letter, and counts.
        run = await find_workflow_run(reader, self.project_id, self.workflow_run_id)
        if self.step_ref is None:
            scope = {"project_id": self.project_id, "workflow_run_id": self.workflow_run_id}
            rows = await reader.rows("steps_of_workflow_run", **scope)
        else:
            key = (self.project_id, self.workflow_run_id, self.step_ref)
            rows = await reader.load("steps_by_ref", [key])
        steps = [Step(*row) for row in rows]
        fitting = await fitting_outputs(reader, steps)
        with_output = await with_outputs(reader, steps[:fitting])
        keys = await _event_keys(reader, steps)
        return ShownSteps(run, (*with_output, *steps[fitting:]), fitting, keys)


async def _event_keys(reader: Reader, steps: Sequence[Step]) -> dict[int, tuple[str, ...]]:
    """What the steps that wait are waiting for."""
    waiting = {
        (step.project_id, step.wait_group_id): step.step
        for step in steps
        if step.status == StepStatus.WAITING and step.wait_group_id is not None
    }
    rows = await reader.load("wait_groups_by_id", sorted(waiting)) if waiting else []
    groups = {waiting[group.project_id, group.id]: group for group in (WaitGroup(*row) for row in rows)}
    by_step, keys = dict[int, list[str]](), list[tuple[str, str]]()
    for step, group in sorted(groups.items()):
        by_step[step] = json.loads(group.trigger_ids)[:MAX_KEYS_OF_STEP][: MAX_KEYS - len(keys)]
        keys += [(group.project_id, each) for each in by_step[step]]
    found = await reader.load("triggers_by_id", list(keys)) if keys else []
    event_keys = {trigger.id: trigger.event_key for trigger in (Trigger(*row) for row in found)}
    return {
        step: tuple(event_keys[each] for each in trigger_ids if each in event_keys)
        for step, trigger_ids in by_step.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRunTimeline:
    """What happened to a workflow run and its steps, newest first, along the chain of its facts."""

    project_id: str
    workflow_run_id: str
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Fact]:
        bound_of(self.cursor)  # a wrong one is told before a run that is not there
        run = await find_workflow_run(reader, self.project_id, self.workflow_run_id)
        return await timeline(reader, run, self.limit, self.cursor)


@dataclass(frozen=True, slots=True)
class DueWorkflowRuns:
    """Live workflow runs with a limit of time, of all projects, in the order in which it is over."""

    limit: int

    async def run(self, reader: Reader) -> list[DueWorkflowRun]:
        rows = await reader.rows("due_workflow_runs", most=self.limit)
        return [DueWorkflowRun(*row) for row in rows]


async def find_workflow_run(reader: Reader, project_id: str, workflow_run_id: str) -> WorkflowRun:
    rows = await reader.load("workflow_runs_by_id", [(project_id, workflow_run_id)])
    if not rows:
        raise NotFound(
            f"There is no workflow run {workflow_run_id!r} in this project. It may be past retention."
        )
    return WorkflowRun(*rows[0])
