"""What goes: settled triggers by purge or retention, ended runs by retention, and old rows of the other
tables. Candidates are found by reads; these operations look again at each trigger and run before it is
deleted, so that never anything goes that a live run needs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from narrows.core.records import Trigger
from narrows.core.run_records import Run
from narrows.core.states import DeliveryStatus, FactKind
from narrows.core.workflow_records import WorkflowRun
from narrows.operations.base import ENGINE, Actor, check_credential
from narrows.operations.opening import tag_items
from narrows.operations.waits import run_touches
from narrows.storage.following import group_triggers
from narrows.storage.lookups import Mark, Touch
from narrows.storage.transaction import Transaction

#: Triggers or rows in one commit.
CHUNK = 500


class Purge(NamedTuple):
    """Delete the project's triggers that were settled at least `older_than_days` ago. With `scope_hash`
    (an Idempotency-Key) a retry goes on where it stopped."""

    actor: Actor
    project_id: str
    older_than_days: int
    dry_run: bool
    entropy: int
    scope_hash: str | None = None
    body_hash: str | None = None


class PurgeOutcome(NamedTuple):
    deleted: int
    would_delete: int
    dry_run: bool
    replayed: bool = False


class PurgeProgress(NamedTuple):
    """How far a purge has come, kept with its Idempotency-Key in each commit."""

    deleted: int
    after_id: str
    settled_before: int

    def to_json(self) -> str:
        return json.dumps(self._asdict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> PurgeProgress:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTriggers:
    """Delete those of `ids` (project_id, trigger_id) that were settled before `settled_before`
    (microseconds) and that nobody needs: their root has ended, no webhook about them is due, and no live
    replay goes on from them. Answers how many. A waiting trigger never goes.

    `wait_groups` (project_id, id) are those that the triggers belong to, as `WaitGroupsOf` reads them; a
    trigger of any other stays. A group goes with the last of its triggers.
    """

    background: ClassVar[bool] = True

    ids: tuple[tuple[str, str], ...]
    settled_before: int
    entropy: int
    actor: Actor = ENGINE
    wait_groups: tuple[tuple[str, str], ...] = ()

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        credential: list[Touch] = [("api_keys_by_id", self.actor.api_key_id)] if self.actor.api_key_id else []
        return [
            *credential,
            *(("triggers_to_change", *key) for key in self.ids),
            *(("wait_groups_by_id", *key) for key in self.wait_groups),
            *(("replay_tally_by_group", *key) for key in self.wait_groups),
        ]

    def apply(self, tx: Transaction) -> int:
        check_credential(tx, self.actor)
        deleted: Counter[str] = Counter()
        for key in self.ids:
            trigger = tx.trigger(*key)
            if trigger is not None and self._may_go(tx, trigger):
                _delete(tx, trigger)
                deleted[trigger.project_id] += 1
        for key in self.wait_groups:
            _delete_if_empty(tx, *key)
        return _record(tx, FactKind.TRIGGERS_PURGED, deleted, self.actor, self.entropy)

    def _may_go(self, tx: Transaction, trigger: Trigger) -> bool:
        if trigger.settled_at is None or trigger.settled_at >= self.settled_before:
            return False
        if trigger.notify_status == DeliveryStatus.PENDING or self._is_replayed(tx, trigger):
            return False
        root = None if trigger.root_id is None else tx.root(trigger.project_id, trigger.root_id)
        return root is None or root.ended_at is not None

    def _is_replayed(self, tx: Transaction, trigger: Trigger) -> bool:
        """What was not asked for beforehand cannot be ruled out."""
        if trigger.wait_group_id is None:
            return False
        key = (trigger.project_id, trigger.wait_group_id)
        return key not in self.wait_groups or tx.is_replayed(*key)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRuns:
    """Delete those of `ids` (project_id, run_id) that ended before `finished_before` (microseconds), with
    their answers, roots and payloads; answers how many. Their triggers go by themselves. What a workflow
    run started stays as long as that lives."""

    background: ClassVar[bool] = True

    ids: tuple[tuple[str, str], ...]
    finished_before: int
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [touch for key in self.ids for touch in run_touches(*key)]

    def apply(self, tx: Transaction) -> int:
        deleted: Counter[str] = Counter()
        for key in self.ids:
            run = tx.run(*key)
            if run is not None and self._may_go(tx, run):
                _delete_run(tx, run)
                deleted[run.project_id] += 1
        return _record(tx, FactKind.RUNS_PURGED, deleted, ENGINE, self.entropy)

    def _may_go(self, tx: Transaction, run: Run) -> bool:
        if run.finished_at is None or run.finished_at >= self.finished_before:
            return False
        root = tx.root(run.project_id, run.root_id)
        return root is None or root.ended_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWorkflowRuns:
    """The same for workflow runs, with their steps, roots and payloads. What their steps started or waited for,
    sub-workflows too, goes by itself, and so does a run that was started anew from one of them.

    `outputs` are the payloads of their steps, as `OutputsOf` reads them.
    """

    background: ClassVar[bool] = True

    ids: tuple[tuple[str, str], ...]
    finished_before: int
    entropy: int
    outputs: tuple[tuple[str, str, str], ...] = ()

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [(lookup, *key) for key in self.ids for lookup in ("workflow_runs_by_id", "roots_by_id")]

    def apply(self, tx: Transaction) -> int:
        deleted: Counter[str] = Counter()
        gone: set[tuple[str, str]] = set()
        for key in self.ids:
            run = tx.workflow_run(*key)
            if run is not None and run.finished_at is not None and run.finished_at < self.finished_before:
                _delete_workflow_run(tx, run)
                deleted[run.project_id] += 1
                gone.add(key)
        for project_id, run_id, payload_id in self.outputs:
            if (project_id, run_id) in gone:
                tx.release_payload(project_id, payload_id)
        return _record(tx, FactKind.WORKFLOW_RUNS_PURGED, deleted, ENGINE, self.entropy)


def _record(tx: Transaction, kind: FactKind, deleted: Counter[str], actor: Actor, entropy: int) -> int:
    """Say how many of each project have gone; answers how many in all."""
    for project_id, count in deleted.items():
        detail = json.dumps({"count": count})
        tx.record_fact(kind, project_id, project_id, actor.label, entropy, detail=detail)
    return deleted.total()


def _delete_run(tx: Transaction, run: Run) -> None:
    """The run with everything that belongs to it alone."""
    tx.delete(run)
    for payload_id in (run.payload_id, run.result_id, run.state_id):
        tx.release_payload(run.project_id, payload_id)
    tx.delete_rows("delete_run_answers_of_runs", [(run.project_id, run.id)])
    root = tx.root(run.project_id, run.id)
    if root is not None:
        tx.delete(root)


def _delete_workflow_run(tx: Transaction, run: WorkflowRun) -> None:
    tx.delete(run)
    tx.release_payload(run.project_id, run.payload_id)
    tx.delete_rows("delete_steps_of_workflow_runs", [(run.project_id, run.id)])
    root = tx.root(run.project_id, run.id)
    if root is not None:
        tx.delete(root)


def _delete_if_empty(tx: Transaction, project_id: str, wait_group_id: str) -> None:
    """A loaded group has its triggers loaded with it."""
    group = tx.wait_group(project_id, wait_group_id)
    if group is not None and not group_triggers(tx, group):
        tx.delete(group)


def _delete(tx: Transaction, trigger: Trigger) -> None:
    """The trigger with everything that belongs to it alone."""
    tx.delete(trigger)
    for payload_id in (
        trigger.request_payload_id,
        trigger.response_payload_id,
        trigger.expected_schema_id,
    ):
        tx.release_payload(trigger.project_id, payload_id)
    tags = [(trigger.project_id, name, value, trigger.id) for name, value in tag_items(trigger.tags)]
    if tags:
        tx.delete_rows("delete_trigger_tags", tags)
    if trigger.notify_url is not None:
        tx.delete_rows("delete_deliveries_of_triggers", [(trigger.project_id, trigger.id)])
    tx.delete_rows("delete_callback_urls_of_triggers", [(trigger.project_id, trigger.id)])


#: Tables whose old rows go by their key alone, and the statement that deletes them.
PRUNABLE = {
    "deliveries": "delete_deliveries",
    "facts": "delete_facts",
    "idempotency_records": "delete_idempotency_records",
    "unmatched_events": "delete_unmatched_events",
    "stream_tokens": "delete_stream_tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRows:
    """Delete rows of a prunable table by their keys, as the read `OldRows` found them. An idempotency
    record goes only if it is from `before` still: its key may have been used again meanwhile."""

    background: ClassVar[bool] = True

    table: str
    keys: tuple[tuple[str, ...], ...]
    before: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return []

    def apply(self, tx: Transaction) -> int:
        tx.delete_rows(PRUNABLE[self.table], [(*key, self.before) for key in self.keys])
        return len(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMark:
    """Persist a role's lower bound."""

    background: ClassVar[bool] = True

    name: str
    value: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return []

    def apply(self, tx: Transaction) -> None:
        tx.save(Mark(self.name, self.value))
