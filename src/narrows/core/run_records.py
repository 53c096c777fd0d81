"""The frozen records of jobs, their runs and what goes out: the same conventions as `records.py`."""

from __future__ import annotations

from typing import NamedTuple

from narrows.core.states import (
    DeliveryKind,
    DeliveryStatus,
    GroupMode,
    MessageKind,
    OnEnd,
    RunCall,
    RunStatus,
)


class Job(NamedTuple):
    """A definition of work. With an `endpoint_url` the server calls it, without one workers fetch its
    runs. `signing_secrets` is a JSON array of [encrypted secret, until or null], the newest first;
    a deleted job keeps its row for the runs that name it, and gives up its slug."""

    project_id: str
    id: str
    slug: str
    name: str | None
    description: str | None
    endpoint_url: str | None
    timeout_secs: int
    max_attempts: int
    max_concurrency: int | None
    tags: str | None  # a JSON object of strings
    signing_secrets: str
    version: int
    created_at: int
    updated_at: int
    deleted_at: int | None


class Run(NamedTuple):
    """One execution of a job, and its own root unless a workflow started it.

    `dispatch` counts its handings-out, from 1 once it was dispatched; only the newest may change
    it. `attempt` counts from 1 and anew after each wait. `due_at`: of a delayed run when it is
    queued, of an executing one when its lease is lost; otherwise None. `wait_group_id` is the wait
    it is in, else the last one it was in. `timeout_secs` and `max_attempts` are the job's at the
    time of its making. Texts over `INLINE_PAYLOAD_BYTES` have rows of their own, as in `Trigger`.
    """

    project_id: str
    id: str
    job_id: str
    version: int
    status: RunStatus
    priority: int
    attempt: int
    dispatch: int
    timeout_secs: int
    max_attempts: int
    root_id: str
    workflow_run_id: str | None
    workflow_step_run_id: str | None
    payload: str | None
    payload_id: str | None
    result: str | None
    result_id: str | None
    state: str | None  # what the handler kept by `checkpoint`
    state_id: str | None
    error: str | None
    tags: str | None
    progress: str | None  # a JSON object: percent, message
    holder: str | None  # who executes it: worker:<name>, server:<instance>
    wait_group_id: str | None
    replay_of: str | None
    created_by: str | None
    created_at: int
    scheduled_at: int | None
    due_at: int | None
    dispatched_at: int | None  # of the newest dispatch
    finished_at: int | None
    last_fact_id: str | None


class WaitGroup(NamedTuple):
    """What one waiter waits for: one to many triggers. Never changes: how far it is follows from its
    triggers. `trigger_ids` is a JSON array.

    A step's wait names its workflow run, and its `run_id` is empty. `distinct_by` is a JSON array
    of names: where in a payload the voter stands, if no two events may be of the same. With `has_veto` a
    condition of the definition may end the wait before it is reached.
    """

    project_id: str
    id: str
    root_id: str
    run_id: str
    mode: GroupMode
    needed: int
    trigger_ids: str
    on_timeout: OnEnd
    on_cancel: OnEnd
    created_at: int
    workflow_run_id: str | None = None
    distinct_by: str | None = None
    has_veto: int = 0


class RunAnswer(NamedTuple):
    """What a dispatch was answered to the call that ended it, for a repeat of that call. `reply` is JSON."""

    project_id: str
    run_id: str
    dispatch: int
    call: RunCall
    body_hash: str
    reply: str
    answered_at: int


class Delivery(NamedTuple):
    """An outgoing webhook about a trigger; its id is the `webhook-id` over all attempts. `due_at`: when
    it is tried next, or while it is being tried when that is given up as lost; None once it is over."""

    project_id: str
    id: str
    trigger_id: str
    kind: DeliveryKind
    url: str
    status: DeliveryStatus
    attempts: int
    last_status: int | None  # the HTTP status of the newest answer
    error: str | None
    created_at: int
    due_at: int | None
    finished_at: int | None


class Message(NamedTuple):
    """What one root asks of others, written in its commit and consumed exactly once. `cursor` is how far a
    message that takes many commits has come. `body` is a small JSON object; a payload over
    `INLINE_PAYLOAD_BYTES` has a row of its own, as in `Trigger`."""

    project_id: str
    id: str
    kind: MessageKind
    subject_id: str
    cursor: str | None
    hops: int
    created_at: int
    body: str | None = None
    payload: str | None = None
    payload_id: str | None = None


class RunCounters(NamedTuple):
    """How many runs a job has in each state, of one writer; the sum over writers counts."""

    project_id: str
    job_id: str
    writer: str
    delayed: int
    queued: int
    executing: int
    waiting: int
    completed: int
    failed: int
    timed_out: int
    canceled: int
    dead_letter: int


class ReplayTally(NamedTuple):
    """How many live replays go on from the end of a wait group; counted, never written."""

    project_id: str
    wait_group_id: str
    live: int
