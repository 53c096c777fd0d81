"""The messages of workflows, their runs and steps: the same conventions as `messages.py`.

A definition is read by the server's own rules, which answer every fault at once; `StepDefinition` says to
people and programs what a step may have.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta

from narrows.wire.messages import Message, Name
from narrows.wire.run_messages import MaxAttempts, Slug, Url, WaitSecs

WorkflowRunStatus = Literal["running", "paused", "completed", "failed", "timed_out", "canceled"]
StepStatus = Literal[
    "pending",
    "queued",
    "running",
    "waiting",
    "delayed",
    "completed",
    "failed",
    "timed_out",
    "skipped",
    "canceled",
]
StepType = Literal[
    "job", "wait_for_event", "sleep", "approval", "sub_workflow", "wait_for_any", "wait_for_all"
]
OnFailure = Literal["fail_workflow", "skip_dependents", "continue"]
Backoff = Literal["exponential", "linear", "fixed"]
StepRef = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$",
        description="1 to 100 letters, digits, underscores and dashes; the first no dash",
    ),
]
Expression = Annotated[str, Meta(min_length=1, max_length=2_000)]
Condition = Annotated[str, Meta(min_length=1, max_length=1_000)]
Description = Annotated[str, Meta(max_length=2_000)]
MaxParallelSteps = Annotated[int, Meta(ge=0, le=1_000)]
Approver = Annotated[str, Meta(min_length=1, max_length=200)]

# ---- replies ---------------------------------------------------------------------------------


class Workflow(Message, kw_only=True):
    """A workflow with its newest definition, of which a list leaves out all but the names."""

    id: str
    project_id: str
    slug: str
    name: str | None = None
    description: str | None = None
    tags: dict[str, str] | None = None
    version: int
    timeout_secs: int | None = None
    max_parallel_steps: int | None = None
    #: As they were sent.
    steps: list[dict[str, Any]] | None = None
    created_at: datetime
    updated_at: datetime


class WorkflowPage(Message, kw_only=True):
    data: list[Workflow]
    has_more: bool
    next_cursor: str | None = None


class DryRun(Message, kw_only=True):
    """What would come of a definition. Nothing was saved."""

    valid: bool
    #: The steps, each after all that it depends on; empty where there are faults.
    order: list[str]
    depth: int
    faults: list[str]
    #: What is no fault: fields that mean nothing, jobs and workflows that are not there yet.
    notes: list[str]


class WorkflowRun(Message, kw_only=True):
    """One execution of a workflow, by the version that it was started with."""

    id: str
    project_id: str
    workflow_id: str
    workflow_slug: str
    workflow_version: int
    status: WorkflowRunStatus
    payload: Any = UNSET
    tags: dict[str, str] | None = None
    error: str | None = None
    parent_workflow_run_id: str | None = None
    parent_step_ref: str | None = None
    depth: int
    retry_of: str | None = None
    created_by: str | None = None
    created_at: datetime
    #: When its `timeout_secs` are over.
    due_at: datetime | None = None
    finished_at: datetime | None = None


class WorkflowRunPage(Message, kw_only=True):
    data: list[WorkflowRun]
    has_more: bool
    next_cursor: str | None = None


class Vote(Message, kw_only=True):
    """One decision about an approval."""

    approver: str
    approved: bool
    comment: str | None = None
    at: datetime


class WorkflowStep(Message, kw_only=True):
    """A step of a workflow run; one whose turn never came has nothing but its state. `attempt` counts
    from 1."""

    id: str
    workflow_run_id: str
    step_ref: str
    step_type: StepType
    status: StepStatus
    attempt: int | None = None
    depends_on: list[str] | None = None
    output: Any = UNSET
    error: str | None = None
    votes: list[Vote] | None = None
    run_id: str | None = None
    child_workflow_run_id: str | None = None
    #: What it waits for, while it waits.
    event_keys: list[str] | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class WorkflowSteps(Message, kw_only=True):
    """Every step of the definition, in its order."""

    data: list[WorkflowStep]
    outputs_left_out: bool | None = None


class WorkflowRunEvent(Message, kw_only=True):
    """A line of a workflow run's timeline: something that happened to it or to one of its steps."""

    id: str
    kind: str
    step_ref: str | None = None
    at: datetime
    actor: str | None = None
    detail: Any = UNSET


class WorkflowRunEventPage(Message, kw_only=True):
    """Newest first."""

    data: list[WorkflowRunEvent]
    has_more: bool
    next_cursor: str | None = None


class GraphNode(Message, kw_only=True):
    """A step. `depth` is the length of the longest way to it, 1 where it depends on nothing."""

    step_ref: str
    step_type: StepType
    status: StepStatus
    depth: int
    condition: str | None = None


class GraphEdge(Message, kw_only=True, rename={"from_": "from"}):
    """The step `to` depends on `from`."""

    from_: str
    to: str


class WorkflowGraph(Message, kw_only=True):
    """A workflow run for a picture: its steps, how they stand, and what depends on what."""

    workflow_run_id: str
    status: WorkflowRunStatus
    nodes: list[GraphNode]
    edges: list[GraphEdge]


# ---- requests --------------------------------------------------------------------------------


class StepDefinition(Message, kw_only=True):
    """A step of a definition. Which fields it has is said by its `step_type`."""

    step_ref: StepRef
    step_type: StepType = "job"
    #: The same as `step_type`.
    type: StepType | None = None
    depends_on: list[str] | None = None
    condition: Condition | None = None
    on_failure: OnFailure = "fail_workflow"
    on_timeout: Any = UNSET
    retry_max_attempts: MaxAttempts | None = None
    retry_backoff: Backoff = "exponential"
    retry_delay_secs: Annotated[int, Meta(ge=1, le=86_400)] = 1
    output_transform: Expression | None = None
    event_emit_key: Expression | None = None
    job_id: str | None = None
    job_slug: str | None = None
    workflow_slug: str | None = None
    payload: Any = UNSET
    event_key: Expression | None = None
    event_keys: Annotated[list[Expression], Meta(min_length=1, max_length=1_000)] | None = None
    count: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    distinct_by: Expression | None = None
    veto: Condition | None = None
    event_timeout_secs: WaitSecs | None = None
    expected_schema: Any = UNSET
    request_payload: Any = UNSET
    event_notify_url: Url | None = None
    notify_url: Url | None = None
    sleep_duration_secs: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    sleep_duration: str | None = None
    until: Expression | None = None
    approvers: Annotated[list[Approver], Meta(max_length=100)] | None = None
    min_approvals: Annotated[int, Meta(ge=1, le=100)] | None = None
    approval_timeout_secs: WaitSecs | None = None
    timeout_secs: WaitSecs | None = None


class CreateWorkflowRequest(Message, kw_only=True):
    slug: Slug
    name: Name | None = None
    description: Description | None = None
    tags: dict[str, str] | None = None
    timeout_secs: WaitSecs = 0
    max_parallel_steps: MaxParallelSteps = 0
    steps: Annotated[list[StepDefinition], Meta(min_length=1, max_length=1_000)]
    project_id: str | None = None


class UpdateWorkflowRequest(Message, kw_only=True):
    """What is left out stays as it is; null takes an optional field away. Steps are replaced as a whole."""

    slug: Slug | Any = UNSET
    name: Any = UNSET
    description: Any = UNSET
    tags: Any = UNSET
    timeout_secs: Any = UNSET
    max_parallel_steps: Any = UNSET
    steps: Any = UNSET
    project_id: str | None = None


class TriggerWorkflowRequest(Message, kw_only=True):
    """`idempotency_key` counts like the header."""

    payload: Any = UNSET
    tags: dict[str, str] | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    project_id: str | None = None


class WorkflowRunRequest(Message, kw_only=True):
    """Nothing: what is meant stands in the path."""

    project_id: str | None = None


class DecisionRequest(Message, kw_only=True):
    """Without an `approver` it is whoever asks, as `key:<key id>`."""

    approver: Approver | None = None
    comment: Annotated[str, Meta(max_length=2_000)] | None = None
    project_id: str | None = None
