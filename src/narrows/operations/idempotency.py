"""`Idempotent` wraps an operation so that a request with an Idempotency-Key happens once: what it was
answered is written in the operation's own commit, and a repeat gets it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from narrows.core.records import IdempotencyRecord
from narrows.errors import Conflict
from narrows.operations.base import Answers, ProjectOperation, Replayed, check_credential
from narrows.storage.lookups import Touch
from narrows.storage.operation import Operation
from narrows.storage.transaction import Transaction

#: Status of the record of a request of many commits that has not come to its end.
IN_PROGRESS = 0
#: How long an answer is kept.
KEPT_US = 86_400 * 1_000_000


def is_kept(record: IdempotencyRecord, wall: int) -> bool:
    """Whether its 24 hours are not over; else a new request may take its place."""
    return record.created_at + KEPT_US > wall


class Kept(NamedTuple):
    """What of an outcome is kept: a trigger's id (rendered again), a JSON reply, or the id of what
    was made where the reply held a secret."""

    status: int
    trigger_id: str | None = None
    reply: str | None = None
    secret_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotent:
    """`operation`, at most once per `scope_hash`. `keep` must be pure. Refusals are not kept.

    Raises Conflict for another body under the same key, and for a reply with a secret.
    """

    background: ClassVar[bool] = False

    operation: Any
    project_id: str
    scope_hash: str
    body_hash: str
    keep: Callable[[Any], Kept]

    @property
    def size_bytes(self) -> int:
        size: int = self.operation.size_bytes
        return size

    def answered(self, answers: Answers) -> Idempotent:
        return replace(self, operation=self.operation.answered(answers))

    def touches(self) -> list[Touch]:
        inner: Operation = self.operation
        return [*inner.touches(), ("idempotency_by_scope", self.scope_hash)]

    def apply(self, tx: Transaction) -> Any:
        check_credential(tx, self.operation.actor)
        record = tx.idempotency(self.scope_hash)
        if record is not None and is_kept(record, tx.wall):
            return self._repeat(record)
        outcome = self.operation.apply(tx)
        kept = self.keep(outcome)
        tx.save(
            IdempotencyRecord(
                self.scope_hash,
                self.project_id,
                self.body_hash,
                kept.status,
                kept.trigger_id,
                kept.reply,
                kept.secret_id,
                tx.now,
            )
        )
        return outcome

    def _repeat(self, record: IdempotencyRecord) -> Replayed:
        if record.body_hash != self.body_hash:
            raise Conflict("This Idempotency-Key was used with another body. Take a new key.")
        if record.secret_id is not None:
            raise Conflict(
                f"This request was done already and made {record.secret_id}; its reply held a secret and "
                "is not kept. Use what it made, or make another with a new key."
            )
        return Replayed(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentStep:
    """One commit of a request that takes many: `operation`, and in the same commit how far the request
    has come (`progress`, pure, makes its JSON from the outcome). `before` is what was kept so far, so
    that two requests with one key never drive the same work. Raises Conflict where they would."""

    background: ClassVar[bool] = True

    operation: Any
    project_id: str
    scope_hash: str
    body_hash: str
    before: str | None
    progress: Callable[[Any], str]
    done: bool

    @property
    def size_bytes(self) -> int:
        size: int = self.operation.size_bytes
        return size

    def touches(self) -> list[Touch]:
        inner: Operation = self.operation
        return [*inner.touches(), ("idempotency_by_scope", self.scope_hash)]

    def apply(self, tx: Transaction) -> Any:
        check_credential(tx, self.operation.actor)
        record = tx.idempotency(self.scope_hash)
        if record is not None and is_kept(record, tx.wall):
            if (record.body_hash, record.status, record.reply) != (self.body_hash, IN_PROGRESS, self.before):
                raise Conflict("Another request with this Idempotency-Key came in between. Send it again.")
            created_at = record.created_at
        else:
            created_at = tx.now
        outcome = self.operation.apply(tx)
        status, reply = (200 if self.done else IN_PROGRESS), self.progress(outcome)
        tx.save(
            IdempotencyRecord(
                self.scope_hash, self.project_id, self.body_hash, status, None, reply, None, created_at
            )
        )
        return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepReply(ProjectOperation):
    """Changes nothing: what a request that only looks was answered, to be kept with its Idempotency-Key."""

    reply: str

    def touches(self) -> list[Touch]:
        return self.credential()

    def apply(self, tx: Transaction) -> str:
        self.authorize(tx)
        return self.reply
