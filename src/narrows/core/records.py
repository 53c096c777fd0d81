"""The frozen records that the rules work on, one per noun. Times are integers, microseconds since
the epoch; ids are UUIDv7 in text; payloads are compacted JSON text exactly as it was sent.

They are NamedTuples because a database row becomes a record in one C call, and a changed copy
costs a third of a frozen dataclass's. The field order is the column order of the table.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from narrows.core.states import HeldStatus, SourceType, TriggerStatus, TriggerType

#: `expires_at` of a wait without time-out: 9999-12-31T23:59:59Z.
NEVER: Final = 253_402_300_799_000_000


class Trigger(NamedTuple):
    """A durable wait for one event. `version` counts its changes, from 1.

    `ordinal` counts the waits under one key, from 1: only the newest may be waiting, so that the
    unique (project, key, ordinal) is what makes a waiting key unique. `root_id` is what the waiter
    belongs to; None for a client's wait, which is its own root. A payload over
    `INLINE_PAYLOAD_BYTES` lives in a row of its own: then `*_payload_id` names it, and
    `*_payload` may hold the text while it is at hand. `last_fact_id` heads this trigger's timeline.
    """

    project_id: str
    id: str
    event_key: str
    ordinal: int
    version: int
    trigger_type: TriggerType
    source_type: SourceType
    status: TriggerStatus
    root_id: str | None
    wait_group_id: str | None
    workflow_run_id: str | None
    workflow_step_run_id: str | None
    job_run_id: str | None
    waiter: str | None
    name: str | None
    tags: str | None  # a JSON object of strings
    request_payload: str | None
    request_payload_id: str | None
    response_payload: str | None
    response_payload_id: str | None
    expected_schema_id: str | None  # a Payload row: the JSON Schema's text
    timeout_secs: int
    requested_at: int
    expires_at: int
    received_at: int | None
    settled_at: int | None
    error: str | None
    sent_by: str | None
    opened_by: str | None
    last_fact_id: str | None
    notify_url: str | None = None
    notify_status: str | None = None  # of its newest delivery; no change of the trigger itself
    ballot: str | None = (
        None  # what its event says in a step's vote (`step_waits.Ballot`), made as it is received
    )


class Payload(NamedTuple):
    """A JSON text that is too large for its trigger's row, or an expected schema. `holders` counts the
    rows that name it, of whatever table (a prefix send's payload has many); at 0 it goes."""

    project_id: str
    id: str
    body: str
    holders: int


class HeldEvent(NamedTuple):
    """An event kept because nothing waited for it yet, or, once delivered, because its `event_id`
    must go on refusing duplicates until `held_until`."""

    project_id: str
    id: str
    event_key: str
    event_id: str | None
    status: HeldStatus
    payload: str | None
    payload_id: str | None
    held_at: int
    held_until: int
    trigger_id: str | None  # who got it
    sent_by: str | None
    hops: int = 0  # how many messages, one out of the other, led to it


class Fact(NamedTuple):
    """Something that happened; append-only. `previous_id` links to the fact before it of the same
    trigger, so that a timeline needs no index. `detail` is a small JSON object."""

    project_id: str
    id: str
    kind: str
    subject_id: str  # trigger, held event, API key or project
    root_id: str | None
    previous_id: str | None
    actor: str | None  # who: key:<id>, callback:<id>, dev, host, engine
    version: int | None
    at: int
    detail: str | None


class Project(NamedTuple):
    """The tenant. `signing_secrets`: as of `Job`, for deliveries."""

    id: str
    name: str | None
    created_at: int
    signing_secrets: str | None = None


class ApiKey(NamedTuple):
    """A credential. `project_id` None is an admin key, which names its project in each request."""

    id: str
    project_id: str | None
    name: str | None
    scopes: str  # a JSON array of strings
    secret_hash: str  # SHA-256 of the whole key, hex
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    created_by: str | None
    replaced_by: str | None


class CallbackUrl(NamedTuple):
    """A secret address bound to one trigger; only the hash of its token is kept."""

    token_hash: str
    id: str
    project_id: str
    trigger_id: str
    created_at: int


class StreamToken(NamedTuple):
    """A read-only token for one trigger's stream, for browsers; only its hash is kept."""

    token_hash: str
    project_id: str
    trigger_id: str
    api_key_id: str | None
    created_at: int
    opened_at: int | None


class IdempotencyRecord(NamedTuple):
    """What a request with an Idempotency-Key was answered. `scope_hash` is SHA-256 over credential,
    method, raw path and key. Either `trigger_id` is kept and rendered again, or `reply` (JSON);
    with `secret_id` the reply held a secret and only the id of what was made is kept."""

    scope_hash: str
    project_id: str
    body_hash: str
    status: int
    trigger_id: str | None
    reply: str | None
    secret_id: str | None
    created_at: int


class UnmatchedEvent(NamedTuple):
    """An event that arrived and settled nothing, without its payload. `reason` is one of
    `no_wait`, `settled`, `schema`, `type`; `late_us` how long after the trigger had been settled."""

    project_id: str
    id: str
    event_key: str
    reason: str
    trigger_id: str | None
    late_us: int | None
    detail: str | None
    sent_by: str | None
    arrived_at: int


class Root(NamedTuple):
    """What a waiter belongs to: a top-level run or a workflow run. A client's wait has no row: it
    is its own root and ends when it is settled. `descendants` counts the workflow runs that were started below
    it, directly or not."""

    project_id: str
    id: str
    kind: str
    created_at: int
    ended_at: int | None
    descendants: int


class Counters(NamedTuple):
    """The statistics of one project and one writer; the sum over writers is what is shown."""

    project_id: str
    writer: str
    waiting: int
    received: int
    timed_out: int
    canceled: int
    wait_us: int  # summed over received triggers: received_at - requested_at
    held: int
    workflow_runs: int  # that go on


class HeldTally(NamedTuple):
    """How many events are held under one key; counted, never written."""

    project_id: str
    event_key: str
    held: int
