"""The frozen records of workflows, their runs and their steps: the same conventions as `records.py`.

What a definition says, taken apart, is in `workflow_definitions.py`; here it is one JSON text.
"""

from __future__ import annotations

from typing import NamedTuple

from narrows.core.states import StepStatus, StepType, WorkflowRunStatus


class Workflow(NamedTuple):
    """A workflow as it is now. `version` counts its definitions, from 1, and names the newest
    `WorkflowVersion`; a deleted one keeps its row for the runs that name it, and gives up its slug."""

    project_id: str
    id: str
    slug: str
    name: str | None
    description: str | None
    tags: str | None  # a JSON object of strings
    version: int
    created_at: int
    updated_at: int
    deleted_at: int | None


class WorkflowVersion(NamedTuple):
    """One definition, never changed: a run keeps the version that it was started with. `definition` is
    the JSON text as it was sent, so that numbers in payloads keep their spelling."""

    project_id: str
    workflow_id: str
    version: int
    definition: str
    created_at: int


class WorkflowRun(NamedTuple):
    """One execution of a workflow: one root, to which its steps, their runs and their triggers belong.

    `steps` has one letter for each step (`step_states.py`), in the order of the definition: the states of
    all, in the row that every change of the root writes anyway. `due_at` is when `timeout_secs` is over,
    None without one and once it has ended. `depth` counts the workflow runs above it, from 0;
    `parent_run_id` and `parent_step` say whose sub-workflow it is, `top_run_id` which one stands above them all
    (None for that itself); `hops` how many messages, one out of the other, led to it. Texts over
    `INLINE_PAYLOAD_BYTES` have rows of their own, as in `Trigger`.
    """

    project_id: str
    id: str
    workflow_id: str
    workflow_version: int
    version: int
    status: WorkflowRunStatus
    steps: str
    payload: str | None
    payload_id: str | None
    error: str | None
    tags: str | None
    parent_run_id: str | None
    parent_step: int | None
    depth: int
    hops: int
    retry_of: str | None
    created_by: str | None
    created_at: int
    due_at: int | None
    finished_at: int | None
    last_fact_id: str | None
    top_run_id: str | None


class Step(NamedTuple):
    """One step of a workflow run, from its first start on (or from when it was skipped); one whose turn
    never came has no row, only its letter. `step` is its place in the definition.

    `attempt` counts from 1. `run_id` is the job's run, `child_run_id` the sub-workflow's, `wait_group_id`
    the wait of the present attempt; what belongs to an earlier one is told by not being named here.
    `votes` is a JSON array of the decisions of an approval. `output` is what later steps see of it.
    """

    project_id: str
    workflow_run_id: str
    step: int
    id: str
    step_ref: str
    step_type: StepType
    version: int
    status: StepStatus
    attempt: int
    output: str | None
    output_id: str | None
    error: str | None
    votes: str | None
    run_id: str | None
    child_run_id: str | None
    wait_group_id: str | None
    created_at: int
    started_at: int | None  # of the present attempt
    finished_at: int | None
    last_fact_id: str | None


class WorkflowRunCounters(NamedTuple):
    """How many runs a workflow has in each state, of one writer; the sum over writers counts."""

    project_id: str
    workflow_id: str
    writer: str
    running: int
    paused: int
    completed: int
    failed: int
    timed_out: int
    canceled: int
