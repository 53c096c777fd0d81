"""Jobs, runs and what runs wait for as messages of the contract. Pure, like `render.py`: what has to be
read for it is handed in (`run_replies.py` reads)."""

from __future__ import annotations

from collections.abc import Sequence

from narrows.api import render
from narrows.core import run_records, waits
from narrows.core.records import Fact, Trigger
from narrows.core.states import RunStatus
from narrows.operations.run_plane import WaitOutcome
from narrows.wire import messages
from narrows.wire import run_messages as wire


def job(record: run_records.Job, signing_secret: str | None = None) -> wire.Job:
    """A job; with its signing secret only in the reply that made it."""
    return wire.Job(
        id=record.id,
        project_id=record.project_id,
        slug=record.slug,
        name=record.name,
        description=record.description,
        endpoint_url=record.endpoint_url,
        timeout_secs=record.timeout_secs,
        max_attempts=record.max_attempts,
        max_concurrency=record.max_concurrency,
        tags=render.object_or_nothing(record.tags),
        created_at=render.time(record.created_at),
        updated_at=render.time(record.updated_at),
        signing_secret=signing_secret,
    )


def run(record: run_records.Run, waiting_for: Sequence[str] = ()) -> wire.Run:
    """A run, with its payload and result where they are at hand."""
    return wire.Run(
        id=record.id,
        project_id=record.project_id,
        job_id=record.job_id,
        status=render.word(record.status),
        priority=record.priority,
        attempt=record.attempt,
        max_attempts=record.max_attempts,
        dispatches=record.dispatch,
        timeout_secs=record.timeout_secs,
        workflow_run_id=record.workflow_run_id,
        workflow_step_run_id=record.workflow_step_run_id,
        payload=render.raw(record.payload),
        result=render.raw(record.result),
        error=record.error,
        tags=render.object_or_nothing(record.tags),
        progress=render.object_or_nothing(record.progress),
        holder=record.holder,
        waiting_for=list(waiting_for) or None,
        replay_of=record.replay_of,
        created_by=record.created_by,
        created_at=render.time(record.created_at),
        scheduled_at=render.time(record.scheduled_at),
        # Of a run that is being executed it is its lease, which is for whoever executes it.
        due_at=render.time(record.due_at) if record.status == RunStatus.DELAYED else None,
        dispatched_at=render.time(record.dispatched_at),
        finished_at=render.time(record.finished_at),
    )


def run_event(fact: Fact) -> wire.RunEvent:
    return wire.RunEvent(
        id=fact.id,
        kind=fact.kind,
        at=render.time(fact.at),
        actor=fact.actor,
        detail=render.raw(fact.detail),
    )


def lease(record: run_records.Run) -> wire.Lease:
    return wire.Lease(status=render.word(record.status), lease_until=render.time(record.due_at))


def claimed_run(
    record: run_records.Run, job_slug: str, run_token: str, checkpoint: wire.Checkpoint
) -> wire.ClaimedRun:
    return wire.ClaimedRun(
        run=run(record),
        job_slug=job_slug,
        run_token=run_token,
        lease_until=render.time(record.due_at),
        checkpoint=checkpoint,
    )


def checkpoint(
    state: str | None, triggers: Sequence[Trigger], shown: Sequence[messages.Trigger]
) -> wire.Checkpoint:
    """What a run kept, and how its last wait ended. `shown` are the triggers as messages."""
    last = waits.ended_by(triggers)
    return wire.Checkpoint(
        state=render.raw(state),
        event=next((each for each in shown if last is not None and each.id == last.id), None),
        events=list(shown) if len(shown) > 1 else None,
    )


def wait_result(
    outcome: WaitOutcome, callback_urls: Sequence[str | None], *, several: bool
) -> wire.WaitResult:
    """A wait that was granted, with the secret addresses that were asked for."""
    granted = [
        wire.GrantedWait(
            event_key=each.event_key,
            expires_at=render.time(each.expires_at),
            trigger_id=each.trigger_id,
            callback_url=url,
        )
        for each, url in zip(outcome.waits, callback_urls, strict=True)
    ]
    first = granted[0]
    return wire.WaitResult(
        status=render.word(RunStatus.WAITING),
        event_key=first.event_key,
        expires_at=first.expires_at,
        trigger_id=first.trigger_id,
        callback_url=first.callback_url,
        events=granted if several else None,
    )
