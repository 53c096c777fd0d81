"""How a wait begins, shared by a client's and a run's: the key must be free, a held event that fits
settles the wait in the same commit, what belongs to it is kept beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from narrows.core import triggers as rules
from narrows.core.payloads import INLINE_PAYLOAD_BYTES
from narrows.core.records import CallbackUrl, HeldEvent, Trigger
from narrows.core.run_records import Run
from narrows.core.states import FactKind, HeldStatus, TriggerType
from narrows.core.workflow_records import Step
from narrows.errors import Conflict, LimitReached
from narrows.operations.base import Answers, Question
from narrows.operations.delivery import receive
from narrows.storage.lookups import Touch, TriggerTag
from narrows.storage.operation import Undecided
from narrows.storage.transaction import Transaction


class Wanted(NamedTuple):
    """A wait that somebody asks for. Payload, schema and tags are JSON texts."""

    event_key: str
    timeout_secs: int
    request_payload: str | None = None
    expected_schema: str | None = None
    notify_url: str | None = None
    callback_token_hash: str | None = None
    name: str | None = None
    tags: str | None = None
    #: Exactly until then, in microseconds, instead of `timeout_secs` from now.
    expires_at: int | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.request_payload or "") + len(self.expected_schema or "")


def opening_touches(project_id: str, keys: Sequence[str]) -> list[Touch]:
    """What the opening of waits under these keys looks at."""
    touches: list[Touch] = [("projects_by_id", project_id), ("counters_by_project", project_id)]
    for event_key in keys:
        touches += [("triggers_by_key", project_id, event_key), ("held_by_key", project_id, event_key)]
    return touches


def check_free(tx: Transaction, project_id: str, event_key: str) -> None:
    """Raise Conflict if the key is waiting."""
    newest = tx.newest_trigger(project_id, event_key)
    if newest is not None and rules.is_waiting(newest):
        raise Conflict(
            f"A wait is open already under the key {event_key!r} (trigger {newest.id}). "
            'Join it with "if_waiting": "join", cancel it, or take another key.'
        )


def check_room(tx: Transaction, project_id: str, more: int = 1) -> None:
    """Raise LimitReached if the project may not open so many more waits."""
    if tx.waiting_count(project_id) + more > tx.limits.waiting_per_project:
        raise LimitReached(
            f"The project has {tx.limits.waiting_per_project} waits open, the most allowed.",
            retry_after_secs=60,
        )


def first_fitting(
    tx: Transaction, project_id: str, wanted: Sequence[Wanted], answers: Answers
) -> list[HeldEvent | None]:
    """For each wait the held event that settles it: first come, first delivered; one that does not fit the
    schema stays held. Raises Undecided with all that must be asked."""
    held = [tx.held_events(project_id, each.event_key) for each in wanted]
    questions = [
        question
        for each, events in zip(wanted, held, strict=True)
        for question in _questions(project_id, each, events)
    ]
    if unanswered := [question for question in questions if question not in answers]:
        raise Undecided(unanswered)
    return [_first(project_id, each, events, answers) for each, events in zip(wanted, held, strict=True)]


def _questions(project_id: str, wanted: Wanted, events: Sequence[HeldEvent]) -> list[Question]:
    if wanted.expected_schema is None:
        return []
    return [Question("fits", project_id, event.id, wanted.expected_schema) for event in events]


def _first(
    project_id: str, wanted: Wanted, events: Sequence[HeldEvent], answers: Answers
) -> HeldEvent | None:
    if wanted.expected_schema is None:
        return events[0] if events else None
    for event, question in zip(events, _questions(project_id, wanted, events), strict=True):
        if not answers[question]:
            return event
    return None


def open_wait(
    tx: Transaction,
    project_id: str,
    wanted: Wanted,
    actor: str,
    entropy: int,
    *,
    trigger_type: TriggerType = TriggerType.EVENT,
    run: Run | None = None,
    step: Step | None = None,
    wait_group_id: str | None = None,
) -> Trigger:
    """The wait itself, waiting; its key must be free. With a `run` or a `step` it belongs to the wait group
    of that."""
    newest = tx.newest_trigger(project_id, wanted.event_key)
    trigger = rules.new_wait(
        project_id=project_id,
        trigger_id=tx.new_id(entropy),
        event_key=wanted.event_key,
        ordinal=1 if newest is None else newest.ordinal + 1,
        timeout_secs=wanted.timeout_secs,
        now=tx.now,
        opened_by=actor,
        trigger_type=trigger_type,
        run_id=None if run is None else run.id,
        root_id=None if run is None else run.root_id,
        wait_group_id=wait_group_id,
    )
    if step is not None:
        trigger = rules.of_step(trigger, step.workflow_run_id, step.id)
    if wanted.expires_at is not None:
        trigger = rules.until(trigger, wanted.expires_at)
    if wanted.notify_url is not None:
        trigger = trigger._replace(notify_url=wanted.notify_url)
    if wanted.request_payload is not None or wanted.expected_schema is not None or wanted.name or wanted.tags:
        trigger = _attach(tx, trigger, wanted, entropy)
    trigger = tx.advance(trigger, FactKind.TRIGGER_OPENED, actor, entropy)
    if wanted.callback_token_hash is not None:
        save_callback_url(tx, trigger, wanted.callback_token_hash, actor, entropy)
    return trigger


def _attach(tx: Transaction, trigger: Trigger, wanted: Wanted, entropy: int) -> Trigger:
    payload_id = schema_id = None
    if wanted.request_payload is not None and len(wanted.request_payload) > INLINE_PAYLOAD_BYTES:
        payload_id = tx.save_payload(trigger.project_id, wanted.request_payload, entropy)
    if wanted.expected_schema is not None:
        schema_id = tx.save_payload(trigger.project_id, wanted.expected_schema, entropy)
    for name, value in tag_items(wanted.tags):
        tx.save(TriggerTag(trigger.project_id, name, value, trigger.id))
    return trigger._replace(
        name=wanted.name,
        tags=wanted.tags,
        request_payload=wanted.request_payload,
        request_payload_id=payload_id,
        expected_schema_id=schema_id,
    )


def take(tx: Transaction, trigger: Trigger, held: HeldEvent, entropy: int) -> Trigger:
    """Settle the wait with a held event, which is used up. It may be the newest of a chain of messages."""
    sent_by = held.sent_by or "engine"
    if held.event_id is None:
        tx.delete(held)
    else:
        tx.save(
            held._replace(status=HeldStatus.DELIVERED, trigger_id=trigger.id, payload=None, payload_id=None)
        )
    tx.record_fact(FactKind.EVENT_DELIVERED, held.project_id, held.id, sent_by, entropy)
    with tx.notes.reached_by(held.hops):
        return receive(tx, trigger, held.payload, sent_by, entropy, held.payload_id)


def tag_items(tags: str | None) -> list[tuple[str, str]]:
    """The tags of a JSON text, as (name, value)."""
    return [] if tags is None else list(json.loads(tags).items())


def save_callback_url(
    tx: Transaction, trigger: Trigger, token_hash: str, actor: str, entropy: int
) -> CallbackUrl:
    url = CallbackUrl(token_hash, tx.new_id(entropy), trigger.project_id, trigger.id, tx.now)
    tx.save(url)
    tx.record_fact(FactKind.CALLBACK_URL_CREATED, trigger.project_id, url.id, actor, entropy)
    return url
