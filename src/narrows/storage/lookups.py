"""What an operation can ask to have loaded, and how each kind of record is written back.

A touch is a tuple: a lookup's name and its key. The tables below are the whole map between the
frozen records and the named statements; the transaction and the backends know no table by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from narrows.core.records import (
    ApiKey,
    CallbackUrl,
    Counters,
    Fact,
    HeldEvent,
    HeldTally,
    IdempotencyRecord,
    Payload,
    Project,
    Root,
    StreamToken,
    Trigger,
    UnmatchedEvent,
)
from narrows.core.run_records import (
    Delivery,
    Job,
    Message,
    ReplayTally,
    Run,
    RunAnswer,
    RunCounters,
    WaitGroup,
)
from narrows.core.workflow_records import Step, Workflow, WorkflowRun, WorkflowVersion

#: (lookup name, *key)
Touch = tuple[str, ...]
Record = Any

#: lookup name -> record class. The name is also the statement's.
LOOKUPS: dict[str, type[Any]] = {
    "triggers_by_key": Trigger,
    "triggers_by_id": Trigger,
    "held_by_key": HeldEvent,
    "held_tally_by_key": HeldTally,
    "held_by_event_id": HeldEvent,
    "held_by_id": HeldEvent,
    "projects_by_id": Project,
    "api_keys_by_id": ApiKey,
    "callback_urls_by_hash": CallbackUrl,
    "stream_tokens_by_hash": StreamToken,
    "idempotency_by_scope": IdempotencyRecord,
    "roots_by_id": Root,
    "counters_by_project": Counters,
    "jobs_by_id": Job,
    "jobs_by_slug": Job,
    "jobs_by_run": Job,
    "runs_by_id": Run,
    "queued_runs_by_job": Run,
    "run_counters_by_job": RunCounters,
    "run_counters_by_slug": RunCounters,
    "replay_tally_by_group": ReplayTally,
    "wait_groups_by_id": WaitGroup,
    "run_answers_by_dispatch": RunAnswer,
    "deliveries_by_id": Delivery,
    "messages_by_id": Message,
    "workflows_by_id": Workflow,
    "workflows_by_slug": Workflow,
    "workflow_versions_by_id": WorkflowVersion,
    "workflow_runs_by_id": WorkflowRun,
    "steps_by_number": Step,
    "steps_by_ref": Step,
    "payloads_by_id": Payload,
}

#: What everybody looks at and few change: who does says so by these names, so that several nodes can tell
#: a lock that excludes others from one that does not. Loaded like the lookup beside it.
TO_CHANGE: dict[str, str] = {
    "projects_to_change": "projects_by_id",
    "api_keys_to_change": "api_keys_by_id",
    "jobs_to_change": "jobs_by_id",
    "jobs_to_change_by_slug": "jobs_by_slug",
    "workflows_to_change": "workflows_by_id",
    "workflows_to_change_by_slug": "workflows_by_slug",
    # Who settles a trigger need not lock it (`looked.py`); who does anything else with it says so.
    "triggers_to_change": "triggers_by_id",
    # Of the root rows only what is counted in them changes before the end.
    "roots_to_count": "roots_by_id",
}

#: What is counted and not a record that could be written; with how many columns name it.
TALLIES: dict[type[Any], int] = {
    Counters: 1,
    HeldTally: 2,
    RunCounters: 2,
    ReplayTally: 2,
}


class Mark(NamedTuple):
    """A persisted lower bound of one of the engine's roles."""

    name: str
    value: int


class TriggerTag(NamedTuple):
    project_id: str
    name: str
    value: str
    trigger_id: str


class Table(NamedTuple):
    """How one kind of record is written. `identity` is its primary key; `update` picks the
    statement and the row for a change; None where the record is never changed."""

    identity: Callable[[Any], tuple[str, ...]]
    insert: str
    update: Callable[[Any, Any], tuple[str, tuple[Any, ...]]] | None = None
    delete: str | None = None


def _project_and_id(record: Any) -> tuple[str, ...]:
    return (record.project_id, record.id)


def note_delivery(trigger: Trigger) -> tuple[str, tuple[Any, ...]]:
    """How the newest delivery of a trigger stands: beside its other changes, or alone, without a version."""
    return "note_deliveries", (trigger.project_id, trigger.id, trigger.notify_status)


def cast_ballot(trigger: Trigger) -> tuple[str, tuple[Any, ...]]:
    """What of its event counts, beside its settling."""
    return "cast_ballots", (trigger.project_id, trigger.id, trigger.ballot)


def _update_trigger(old: Trigger, new: Trigger) -> tuple[str, tuple[Any, ...]]:
    """A settling writes no indexed column; only an extension moves the due time."""
    if new.version == old.version:
        return note_delivery(new)
    if new.settled_at is None:
        return "extend_triggers", (
            new.project_id,
            new.id,
            new.version,
            new.timeout_secs,
            new.expires_at,
            new.last_fact_id,
        )
    row = (
        new.project_id,
        new.id,
        new.version,
        new.status,
        None if new.response_payload_id else new.response_payload,
        new.response_payload_id,
        new.received_at,
        new.settled_at,
        new.error,
        new.sent_by,
        new.last_fact_id,
    )
    if new.expires_at == old.expires_at and new.timeout_secs == old.timeout_secs:
        return "settle_triggers", row
    return "settle_extended_triggers", (*row, new.timeout_secs, new.expires_at)


def _deliver(old: HeldEvent, new: HeldEvent) -> tuple[str, tuple[Any, ...]]:
    return "deliver_held_events", (new.project_id, new.id, new.status, new.trigger_id)


def _update_api_key(old: ApiKey, new: ApiKey) -> tuple[str, tuple[Any, ...]]:
    return "update_api_keys", (new.id, new.expires_at, new.revoked_at, new.replaced_by)


def _update_stream_token(old: StreamToken, new: StreamToken) -> tuple[str, tuple[Any, ...]]:
    return "update_stream_tokens", (new.token_hash, new.opened_at)


def _update_idempotency(old: IdempotencyRecord, new: IdempotencyRecord) -> tuple[str, tuple[Any, ...]]:
    return "update_idempotency_records", (new.scope_hash, *new[2:])


def _update_root(old: Root, new: Root) -> tuple[str, tuple[Any, ...]]:
    return "update_roots", (new.project_id, new.id, new.ended_at, new.descendants - old.descendants)


def _update_job(old: Job, new: Job) -> tuple[str, tuple[Any, ...]]:
    return "update_jobs", (
        new.project_id,
        new.id,
        new.slug,
        new.name,
        new.description,
        new.endpoint_url,
        new.timeout_secs,
        new.max_attempts,
        new.max_concurrency,
        new.tags,
        new.signing_secrets,
        new.version,
        new.updated_at,
        new.deleted_at,
    )


def _update_run(old: Run, new: Run) -> tuple[str, tuple[Any, ...]]:
    """A renewed lease changes the due time alone, and no version."""
    if new.version == old.version:
        return "renew_runs", (new.project_id, new.id, new.due_at)
    return "update_runs", (
        new.project_id,
        new.id,
        new.version,
        new.status,
        new.attempt,
        new.dispatch,
        None if new.result_id else new.result,
        new.result_id,
        None if new.state_id else new.state,
        new.state_id,
        new.error,
        new.progress,
        new.holder,
        new.wait_group_id,
        new.due_at,
        new.dispatched_at,
        new.finished_at,
        new.last_fact_id,
    )


def _update_workflow(old: Workflow, new: Workflow) -> tuple[str, tuple[Any, ...]]:
    return "update_workflows", (
        new.project_id,
        new.id,
        new.slug,
        new.name,
        new.description,
        new.tags,
        new.version,
        new.updated_at,
        new.deleted_at,
    )


def _update_workflow_run(old: WorkflowRun, new: WorkflowRun) -> tuple[str, tuple[Any, ...]]:
    return "update_workflow_runs", (
        new.project_id,
        new.id,
        new.version,
        new.status,
        new.steps,
        new.hops,
        new.error,
        new.due_at,
        new.finished_at,
        new.last_fact_id,
    )


def _update_step(old: Step, new: Step) -> tuple[str, tuple[Any, ...]]:
    return "update_steps", (
        new.project_id,
        new.workflow_run_id,
        new.step,
        new.version,
        new.status,
        new.attempt,
        None if new.output_id else new.output,
        new.output_id,
        new.error,
        new.votes,
        new.run_id,
        new.child_run_id,
        new.wait_group_id,
        new.started_at,
        new.finished_at,
        new.last_fact_id,
    )


def _update_message(old: Message, new: Message) -> tuple[str, tuple[Any, ...]]:
    return "update_messages", (new.project_id, new.id, new.cursor)


def _update_delivery(old: Delivery, new: Delivery) -> tuple[str, tuple[Any, ...]]:
    return "update_deliveries", (
        new.project_id,
        new.id,
        new.status,
        new.attempts,
        new.last_status,
        new.error,
        new.due_at,
        new.finished_at,
    )


def _update_project(old: Project, new: Project) -> tuple[str, tuple[Any, ...]]:
    return "update_projects", (new.id, new.signing_secrets)


#: In the order in which a flush writes them.
TABLES: dict[type[Any], Table] = {
    Project: Table(lambda record: (record.id,), "insert_projects", _update_project),
    ApiKey: Table(lambda record: (record.id,), "insert_api_keys", _update_api_key),
    Job: Table(_project_and_id, "insert_jobs", _update_job),
    Workflow: Table(_project_and_id, "insert_workflows", _update_workflow),
    WorkflowVersion: Table(
        lambda record: (record.project_id, record.workflow_id, str(record.version)),
        "insert_workflow_versions",
    ),
    Root: Table(_project_and_id, "insert_roots", _update_root, "delete_roots"),
    WorkflowRun: Table(_project_and_id, "insert_workflow_runs", _update_workflow_run, "delete_workflow_runs"),
    Step: Table(
        lambda record: (record.project_id, record.workflow_run_id, str(record.step)),
        "insert_steps",
        _update_step,
    ),
    Payload: Table(_project_and_id, "insert_payloads"),
    Run: Table(_project_and_id, "insert_runs", _update_run, "delete_runs"),
    WaitGroup: Table(_project_and_id, "insert_wait_groups", None, "delete_wait_groups"),
    RunAnswer: Table(
        lambda record: (record.project_id, record.run_id, str(record.dispatch)), "insert_run_answers"
    ),
    Trigger: Table(_project_and_id, "insert_triggers", _update_trigger, "delete_triggers"),
    TriggerTag: Table(tuple, "insert_trigger_tags"),
    HeldEvent: Table(_project_and_id, "insert_held_events", _deliver, "delete_held_events"),
    CallbackUrl: Table(lambda record: (record.token_hash,), "insert_callback_urls"),
    StreamToken: Table(lambda record: (record.token_hash,), "insert_stream_tokens", _update_stream_token),
    IdempotencyRecord: Table(
        lambda record: (record.scope_hash,), "insert_idempotency_records", _update_idempotency
    ),
    UnmatchedEvent: Table(_project_and_id, "insert_unmatched_events"),
    Delivery: Table(_project_and_id, "insert_deliveries", _update_delivery, "delete_deliveries"),
    Message: Table(_project_and_id, "insert_messages", _update_message, "delete_messages"),
    Fact: Table(_project_and_id, "insert_facts"),
    Mark: Table(lambda record: (record.name,), "set_marks"),
}
