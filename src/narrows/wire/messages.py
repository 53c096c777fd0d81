"""Every request and reply body as a msgspec struct: validation, JSON and OpenAPI come from here.

Fields that are empty are left out of a reply (`omit_defaults`); the only null is a JSON-null
payload. Payload fields are `Any`: the server puts a `msgspec.Raw` there (the text as it was sent,
never re-encoded) and the client decodes Python values. Times are declared `datetime` for clients
and for OpenAPI; the server writes them as RFC 3339 text (`wire/times.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

EventKey = Annotated[str, Meta(min_length=1, description="1 to 512 bytes of UTF-8, no control characters")]
Name = Annotated[str, Meta(max_length=200)]
TriggerStatus = Literal["waiting", "received", "timed_out", "canceled"]
SourceType = Literal["workflow_step", "job_run"]
TriggerType = Literal["event", "sleep", "approval"]


class Message(Struct, omit_defaults=True, kw_only=True):
    """Root of all messages. Unknown fields of a request are ignored."""


# ---- replies ---------------------------------------------------------------------------------


class Trigger(Message, kw_only=True):
    """One durable wait, as on every page that shows a trigger."""

    id: str
    event_key: str
    project_id: str
    source_type: SourceType
    workflow_run_id: str | None = None
    workflow_step_run_id: str | None = None
    job_run_id: str | None = None
    status: TriggerStatus
    request_payload: Any = UNSET
    response_payload: Any = UNSET
    timeout_secs: int
    requested_at: datetime
    received_at: datetime | None = None
    expires_at: datetime
    error: str | None = None
    trigger_type: TriggerType
    waiter: Literal["client"] | None = None
    name: str | None = None
    tags: dict[str, str] | None = None
    expected_schema: Any = UNSET
    sent_by: str | None = None
    settled_at: datetime | None = None
    notify_url: str | None = None
    notify_status: Literal["pending", "delivered", "failed"] | None = None
    #: Only in the reply that made it: the secret address of this wait.
    callback_url: str | None = None


class TriggerPage(Message, kw_only=True):
    data: list[Trigger]
    has_more: bool
    next_cursor: str | None = None


class Stats(Message, kw_only=True):
    total_count: int
    waiting_count: int
    received_count: int
    timed_out_count: int
    canceled_count: int
    avg_wait_duration_secs: float


class PrefixResult(Message, kw_only=True):
    resolved: int
    triggers: list[Trigger]
    refused: int | None = None
    triggers_truncated: bool | None = None
    dry_run: bool | None = None


class PurgeResult(Message, kw_only=True):
    deleted: int
    dry_run: bool
    would_delete: int


class Held(Message, kw_only=True):
    """The 202 of a send whose event is kept for the next wait; also the rows of the held list."""

    id: str
    event_key: str
    project_id: str
    held: bool
    held_until: datetime
    held_at: datetime | None = None
    event_id: str | None = None
    payload: Any = UNSET
    sent_by: str | None = None


class HeldPage(Message, kw_only=True):
    data: list[Held]
    has_more: bool
    next_cursor: str | None = None


class Unmatched(Message, kw_only=True):
    """An event that arrived and settled nothing."""

    id: str
    event_key: str
    project_id: str
    reason: Literal["no_wait", "settled", "schema", "type"]
    arrived_at: datetime
    trigger_id: str | None = None
    late_secs: float | None = None
    detail: str | None = None
    sent_by: str | None = None


class UnmatchedPage(Message, kw_only=True):
    data: list[Unmatched]
    has_more: bool
    next_cursor: str | None = None
    #: How many more of the project's came and could not be remembered, since the server's start.
    dropped: int | None = None


class BatchItemResult(Message, kw_only=True):
    """One result of a batch send: `trigger` with 200, `held` with 202, else `error` and `code`."""

    status: int
    trigger: Trigger | None = None
    held: Held | None = None
    error: str | None = None
    code: str | None = None
    details: list[str] | None = None


class BatchResult(Message, kw_only=True):
    results: list[BatchItemResult]
    payloads_left_out: bool | None = None


class CallbackUrl(Message, kw_only=True):
    id: str
    trigger_id: str
    callback_url: str


class CallbackReceipt(Message, kw_only=True):
    """What a provider learns whose event came by a callback URL: no payload, no key."""

    id: str
    status: TriggerStatus
    received_at: datetime | None = None


class CallbackAddress(Message, kw_only=True):
    """What a GET of a callback URL answers. It has changed nothing, and looked at nothing."""

    message: str


class StreamToken(Message, kw_only=True):
    token: str
    trigger_id: str
    expires_at: datetime
    stream_url: str


class Explanation(Message, kw_only=True):
    """Why a wait did or did not fire. `lines` are sentences, most telling first."""

    event_key: str
    project_id: str
    lines: list[str]
    trigger: Trigger | None = None
    near_keys: list[str] | None = None
    unmatched: list[Unmatched] | None = None
    held_count: int | None = None


class Project(Message, kw_only=True):
    id: str
    created_at: datetime
    name: str | None = None
    #: Only in the reply that made it: what its deliveries are signed with.
    signing_secret: str | None = None


class ProjectPage(Message, kw_only=True):
    data: list[Project]
    has_more: bool
    next_cursor: str | None = None


class ApiKey(Message, kw_only=True):
    """An API key. `key` is the secret itself, given once, in the reply that made it."""

    id: str
    scopes: list[str]
    created_at: datetime
    project_id: str | None = None
    name: str | None = None
    key: str | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    replaced_by: str | None = None


class ApiKeyPage(Message, kw_only=True):
    data: list[ApiKey]
    has_more: bool
    next_cursor: str | None = None


class Problem(Message, kw_only=True):
    """The one shape of every error. `message` repeats `error`: clients read the one or the other."""

    error: str
    message: str
    code: str
    request_id: str
    details: list[str] | None = None


class Health(Message, kw_only=True):
    status: Literal["ok", "unavailable"]
    reasons: list[str] | None = None


class Version(Message, kw_only=True):
    name: str
    version: str
    api_version: str
    schema_version: int
    sqlite_version: str | None = None


# ---- requests --------------------------------------------------------------------------------


class OpenTriggerRequest(Message, kw_only=True):
    event_key: str
    timeout_secs: Annotated[int, Meta(ge=0, le=31_536_000)] = 3600
    request_payload: Any = UNSET
    name: Name | None = None
    tags: dict[str, str] | None = None
    expected_schema: Any = UNSET
    notify_url: str | None = None
    callback_url: bool = False
    if_waiting: Literal["refuse", "join"] = "refuse"
    project_id: str | None = None


class SendRequest(Message, kw_only=True):
    payload: Any = UNSET
    hold_secs: Annotated[int, Meta(ge=1, le=2_592_000)] | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    project_id: str | None = None


class BatchItem(Message, kw_only=True):
    event_key: str
    payload: Any = UNSET
    hold_secs: Annotated[int, Meta(ge=1, le=2_592_000)] | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class BatchRequest(Message, kw_only=True):
    events: Annotated[list[BatchItem], Meta(max_length=1000)]
    project_id: str | None = None


class PrefixSendRequest(Message, kw_only=True):
    payload: Any = UNSET
    dry_run: bool = False
    project_id: str | None = None


class ExtendRequest(Message, kw_only=True):
    """`timeout_secs` counts from now; 0 takes the time-out away."""

    timeout_secs: Annotated[int, Meta(ge=0, le=31_536_000)]
    project_id: str | None = None


class PurgeRequest(Message, kw_only=True):
    older_than_days: Annotated[int, Meta(ge=1, le=36_500)]
    dry_run: bool = False
    project_id: str | None = None


class CallbackUrlRequest(Message, kw_only=True):
    project_id: str | None = None


class StreamTokenRequest(Message, kw_only=True):
    event_key: str | None = None
    trigger_id: str | None = None
    project_id: str | None = None


class CreateProjectRequest(Message, kw_only=True):
    id: str
    name: Name | None = None


class CreateApiKeyRequest(Message, kw_only=True):
    """`project_id` left out makes an admin key, which only the host and admin keys may."""

    scopes: list[str]
    project_id: str | None = None
    name: Name | None = None
    expires_at: datetime | None = None


class RotateApiKeyRequest(Message, kw_only=True):
    overlap_secs: Annotated[int, Meta(ge=0, le=2_592_000)] = 0


Absent = UnsetType
