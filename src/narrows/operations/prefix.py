"""Sending one event to every waiting trigger under a prefix, in commits of bounded size that queue
behind other operations. The service drives the chunks; this is one chunk, and the progress that is
written in the same commit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from narrows.core import triggers as rules
from narrows.core.payloads import INLINE_PAYLOAD_BYTES
from narrows.core.records import IdempotencyRecord, Trigger
from narrows.core.states import TriggerType
from narrows.errors import Conflict
from narrows.operations.base import Actor, AnsweredOperation, Question
from narrows.operations.delivery import receive, schema_question
from narrows.operations.idempotency import IN_PROGRESS, is_kept
from narrows.storage.lookups import Touch
from narrows.storage.operation import Undecided
from narrows.storage.transaction import Transaction

#: Triggers in one commit.
CHUNK = 500
#: Triggers in the reply.
MAX_LISTED = 1_000


class SendPrefix(NamedTuple):
    """What is asked for. With `scope_hash` (an Idempotency-Key) a retry goes on where it stopped."""

    actor: Actor
    project_id: str
    prefix: str
    payload: str | None
    entropy: int
    dry_run: bool = False
    scope_hash: str | None = None
    body_hash: str | None = None


class PrefixOutcome(NamedTuple):
    """`resolved` is what really was committed; `triggers` the first of them."""

    resolved: int
    refused: int
    triggers: tuple[Trigger, ...]
    truncated: bool
    dry_run: bool
    replayed: bool = False


class Progress(NamedTuple):
    """How far a prefix send has come, kept with its Idempotency-Key in each commit. It concerns the
    triggers after `last_id` and up to `until_id`, the newest that waited at the start."""

    resolved: int = 0
    refused: int = 0
    first_ids: tuple[str, ...] = ()
    last_id: str = ""
    until_id: str = ""

    def to_json(self) -> str:
        return json.dumps(self._asdict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "first_ids": tuple(fields["first_ids"])})


class ChunkOutcome(NamedTuple):
    settled: tuple[Trigger, ...]
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPrefixChunk(AnsweredOperation):
    """Settle those of `ids` that still wait. One settled by another meanwhile is not counted; one
    whose schema refuses is counted in `refused`. `done` marks the last chunk."""

    background: ClassVar[bool] = True

    ids: tuple[str, ...]
    payload: str | None
    progress: Progress
    done: bool
    scope_hash: str | None = None
    body_hash: str | None = None

    @property
    def size_bytes(self) -> int:
        return 0 if self.payload is None else len(self.payload)

    def touches(self) -> list[Touch]:
        touches = [*self.credential(), *(("triggers_by_id", self.project_id, id) for id in self.ids)]
        if self.scope_hash is not None:
            touches.append(("idempotency_by_scope", self.scope_hash))
        return touches

    def apply(self, tx: Transaction) -> ChunkOutcome:
        self.authorize(tx)
        self._check_progress(tx)
        waiting = [trigger for trigger in map(self._waiting(tx), self.ids) if trigger is not None]
        fitting, refused = self._fitting(waiting)
        settled = self._settle(tx, fitting)
        progress = replace_progress(self.progress, settled, refused, self.ids)
        self._save_progress(tx, progress)
        return ChunkOutcome(settled, progress)

    def _waiting(self, tx: Transaction) -> Any:
        def look(trigger_id: str) -> Trigger | None:
            trigger = tx.trigger(self.project_id, trigger_id)
            if trigger is None or trigger.trigger_type != TriggerType.EVENT:
                return None
            return trigger if rules.is_waiting(trigger) else None

        return look

    def _fitting(self, waiting: list[Trigger]) -> tuple[list[Trigger], int]:
        """Those whose schema takes the payload. Raises Undecided for all that nobody has looked at."""
        questions: dict[str, Question] = {}
        for trigger in waiting:
            if (question := schema_question(trigger, self.payload)) is not None:
                questions[trigger.id] = question
        if unanswered := [question for question in questions.values() if question not in self.answers]:
            raise Undecided(unanswered)
        fitting = [
            trigger
            for trigger in waiting
            if trigger.id not in questions or not self.answers[questions[trigger.id]]
        ]
        return fitting, len(waiting) - len(fitting)

    def _settle(self, tx: Transaction, fitting: list[Trigger]) -> tuple[Trigger, ...]:
        payload_id = None
        if fitting and self.payload is not None and len(self.payload) > INLINE_PAYLOAD_BYTES:
            # One row for the whole chunk: it goes with the last trigger that names it.
            payload_id = tx.save_payload(self.project_id, self.payload, self.entropy, len(fitting))
        settled: list[Trigger] = []
        for number, looked_at in enumerate(fitting):
            trigger = tx.trigger(looked_at.project_id, looked_at.id)
            if trigger is not None and rules.is_waiting(trigger):
                entropy = self.entropy + number
                settled.append(receive(tx, trigger, self.payload, self.actor.label, entropy, payload_id))
            else:
                # One of its wait group has just ended the wait of all of them.
                tx.release_payload(self.project_id, payload_id)
        return tuple(settled)

    def _check_progress(self, tx: Transaction) -> None:
        """Another request with the same Idempotency-Key must not drive the same send."""
        record = self._record(tx)
        if record is None:
            return
        stored = Progress.from_json(record.reply or "{}") if record.status == IN_PROGRESS else None
        if record.body_hash != self.body_hash or stored is None or stored.last_id != self.progress.last_id:
            raise Conflict("Another request with this Idempotency-Key came in between. Send it again.")

    def _record(self, tx: Transaction) -> IdempotencyRecord | None:
        record = None if self.scope_hash is None else tx.idempotency(self.scope_hash)
        return record if record is not None and is_kept(record, tx.wall) else None

    def _save_progress(self, tx: Transaction, progress: Progress) -> None:
        if self.scope_hash is None:
            return
        status = 200 if self.done else IN_PROGRESS
        record = self._record(tx) or IdempotencyRecord(
            scope_hash=self.scope_hash,
            project_id=self.project_id,
            body_hash=self.body_hash or "",
            status=status,
            trigger_id=None,
            reply=None,
            secret_id=None,
            created_at=tx.now,
        )
        tx.save(record._replace(status=status, reply=progress.to_json()))


def replace_progress(
    progress: Progress, settled: tuple[Trigger, ...], refused: int, ids: tuple[str, ...]
) -> Progress:
    """The progress after a chunk."""
    room = max(0, MAX_LISTED - len(progress.first_ids))
    return progress._replace(
        resolved=progress.resolved + len(settled),
        refused=progress.refused + refused,
        first_ids=progress.first_ids + tuple(trigger.id for trigger in settled[:room]),
        last_id=ids[-1] if ids else progress.last_id,
    )
