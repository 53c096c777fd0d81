"""The messages of jobs, runs, workers, the run plane and deliveries: the same conventions as
`messages.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta

from narrows.wire.messages import Message, Name, Trigger

RunStatus = Literal[
    "delayed",
    "queued",
    "executing",
    "waiting",
    "completed",
    "failed",
    "timed_out",
    "canceled",
    "dead_letter",
]
DeliveryStatus = Literal["pending", "delivered", "failed"]
Slug = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$",
        description="1 to 100 of a-z, 0-9, dot, dash, underscore; the first a letter or digit",
    ),
]
Url = Annotated[str, Meta(min_length=1, max_length=2_048)]
TimeoutSecs = Annotated[int, Meta(ge=1, le=86_400)]
WaitSecs = Annotated[int, Meta(ge=0, le=31_536_000)]
MaxAttempts = Annotated[int, Meta(ge=1, le=100)]
MaxConcurrency = Annotated[int, Meta(ge=1, le=100_000)]
Priority = Annotated[int, Meta(ge=-100, le=100)]
OnEnd = Literal["end", "resume"]
GroupMode = Literal["any", "all", "count"]

# ---- replies ---------------------------------------------------------------------------------


class Job(Message, kw_only=True):
    """A definition of work. Without an `endpoint_url` workers fetch its runs."""

    id: str
    project_id: str
    slug: str
    name: str | None = None
    description: str | None = None
    endpoint_url: str | None = None
    timeout_secs: int
    max_attempts: int
    max_concurrency: int | None = None
    tags: dict[str, str] | None = None
    created_at: datetime
    updated_at: datetime
    #: Only in the reply that made it: of the job, or of a new secret.
    signing_secret: str | None = None


class JobPage(Message, kw_only=True):
    data: list[Job]
    has_more: bool
    next_cursor: str | None = None


class Progress(Message, kw_only=True):
    percent: float | None = None
    message: str | None = None


class Run(Message, kw_only=True):
    """One execution of a job. `attempt` counts anew after each wait; `dispatches` never."""

    id: str
    project_id: str
    job_id: str
    status: RunStatus
    priority: int
    attempt: int
    max_attempts: int
    dispatches: int
    timeout_secs: int
    workflow_run_id: str | None = None
    workflow_step_run_id: str | None = None
    payload: Any = UNSET
    result: Any = UNSET
    error: str | None = None
    tags: dict[str, str] | None = None
    progress: Progress | None = None
    holder: str | None = None
    #: The triggers it waits for, while it waits.
    waiting_for: list[str] | None = None
    replay_of: str | None = None
    created_by: str | None = None
    created_at: datetime
    scheduled_at: datetime | None = None
    #: When a delayed run is queued.
    due_at: datetime | None = None
    dispatched_at: datetime | None = None
    finished_at: datetime | None = None


class RunPage(Message, kw_only=True):
    data: list[Run]
    has_more: bool
    next_cursor: str | None = None


class RunEvent(Message, kw_only=True):
    """A line of a run's timeline: something that happened to it, or that it logged."""

    id: str
    kind: str
    at: datetime
    actor: str | None = None
    detail: Any = UNSET


class RunEventPage(Message, kw_only=True):
    """Newest first."""

    data: list[RunEvent]
    has_more: bool
    next_cursor: str | None = None


class Checkpoint(Message, kw_only=True):
    """What the run kept, and how its last wait ended. `events` has all triggers of a wait of several."""

    state: Any = UNSET
    event: Trigger | None = None
    events: list[Trigger] | None = None


class ClaimedRun(Message, kw_only=True):
    """A run for a worker to execute: with its token, until when it is the worker's, and where it was."""

    run: Run
    job_slug: str
    run_token: str
    lease_until: datetime
    checkpoint: Checkpoint


class ClaimResult(Message, kw_only=True):
    runs: list[ClaimedRun]


class GrantedWait(Message, kw_only=True):
    event_key: str
    expires_at: datetime
    trigger_id: str
    callback_url: str | None = None


class WaitResult(Message, kw_only=True):
    """The wait is granted and the dispatch is over. Of several, the first stands at the top too."""

    status: Literal["waiting"]
    event_key: str
    expires_at: datetime
    trigger_id: str
    callback_url: str | None = None
    events: list[GrantedWait] | None = None


class RunState(Message, kw_only=True):
    """What a call of the run plane left the run as."""

    status: RunStatus


class Lease(Message, kw_only=True):
    status: RunStatus
    lease_until: datetime


class Delivery(Message, kw_only=True):
    """An outgoing webhook; its id is the `webhook-id` over all attempts."""

    id: str
    project_id: str
    trigger_id: str
    type: Literal["trigger.opened", "trigger.settled"]
    url: str
    status: DeliveryStatus
    attempts: int
    last_status: int | None = None
    error: str | None = None
    created_at: datetime
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None


class DeliveryPage(Message, kw_only=True):
    data: list[Delivery]
    has_more: bool
    next_cursor: str | None = None


class DeliveryBody(Message, kw_only=True):
    """What is POSTed to a `notify_url`, as Standard Webhooks has it."""

    type: Literal["trigger.opened", "trigger.settled"]
    timestamp: datetime
    data: Trigger


class Secret(Message, kw_only=True):
    """A new signing secret, given once. The old one goes on signing until `old_until`."""

    signing_secret: str
    old_until: datetime | None = None


# ---- requests --------------------------------------------------------------------------------


class CreateJobRequest(Message, kw_only=True):
    slug: Slug
    name: Name | None = None
    description: Annotated[str, Meta(max_length=2_000)] | None = None
    endpoint_url: Url | None = None
    timeout_secs: TimeoutSecs = 300
    max_attempts: MaxAttempts = 3
    max_concurrency: MaxConcurrency | None = None
    tags: dict[str, str] | None = None
    project_id: str | None = None


class UpdateJobRequest(Message, kw_only=True):
    """What is left out stays as it is; null takes an optional field away."""

    slug: Slug | Any = UNSET
    name: Any = UNSET
    description: Any = UNSET
    endpoint_url: Any = UNSET
    timeout_secs: Any = UNSET
    max_attempts: Any = UNSET
    max_concurrency: Any = UNSET
    tags: Any = UNSET
    project_id: str | None = None


class RotateSecretRequest(Message, kw_only=True):
    """For `overlap_secs` the old secret signs too."""

    overlap_secs: Annotated[int, Meta(ge=0, le=2_592_000)] = 86_400
    project_id: str | None = None


class TriggerJobRequest(Message, kw_only=True):
    payload: Any = UNSET
    priority: Priority = 0
    scheduled_at: datetime | None = None
    tags: dict[str, str] | None = None
    project_id: str | None = None


class ClaimRequest(Message, kw_only=True):
    """`jobs` are slugs or ids. `worker` is a name for people to read."""

    jobs: Annotated[list[str], Meta(min_length=1, max_length=100)]
    limit: Annotated[int, Meta(ge=1, le=100)] = 1
    wait_secs: Annotated[int, Meta(ge=0, le=60)] = 30
    worker: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    project_id: str | None = None


class ReplayRequest(Message, kw_only=True):
    project_id: str | None = None


class RetryDeliveryRequest(Message, kw_only=True):
    project_id: str | None = None


class CheckpointRequest(Message, kw_only=True):
    state: Any


class LogRequest(Message, kw_only=True):
    message: Annotated[str, Meta(max_length=4_096)]
    level: Literal["debug", "info", "warning", "error"] = "info"


class ProgressRequest(Message, kw_only=True):
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    message: Annotated[str, Meta(max_length=1_000)] | None = None


class HeartbeatRequest(Message, kw_only=True):
    """Nothing: who asks, and for what, stands in the token."""


class ReleaseRequest(Message, kw_only=True):
    """Nothing, likewise."""


class CompleteRequest(Message, kw_only=True):
    result: Any = UNSET


class FailRequest(Message, kw_only=True):
    """With `retry` false it is not tried again."""

    error: Annotated[str, Meta(max_length=10_000)]
    retry: bool = True


class SleepRequest(Message, kw_only=True):
    duration_secs: Annotated[int, Meta(ge=0, le=31_536_000)]


class EventToWaitFor(Message, kw_only=True):
    event_key: str
    timeout_secs: WaitSecs | None = None
    request_payload: Any = UNSET
    expected_schema: Any = UNSET
    notify_url: Url | None = None
    callback_url: bool = False


class WaitRequest(Message, kw_only=True):
    """One event by `event_key`, or several by `events` with a `mode`; `count` is for the mode `count`."""

    event_key: str | None = None
    timeout_secs: WaitSecs = 3_600
    request_payload: Any = UNSET
    expected_schema: Any = UNSET
    notify_url: Url | None = None
    callback_url: bool = False
    events: Annotated[list[EventToWaitFor], Meta(min_length=1, max_length=100)] | None = None
    mode: GroupMode = "any"
    count: Annotated[int, Meta(ge=1, le=100)] | None = None
    on_timeout: OnEnd = "end"
    on_cancel: OnEnd = "end"
