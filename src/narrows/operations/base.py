"""What operations share: who acts, what comes out, and questions that are answered outside the writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from narrows.core.records import HeldEvent, IdempotencyRecord, Trigger
from narrows.errors import NotFound, Unauthenticated
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


class Actor(NamedTuple):
    """Who asks for a change: `key:<id>`, `dev`, `host` or `engine`. With `api_key_id` the operation
    checks that credential in its own transaction, so that a revocation is exact."""

    label: str
    api_key_id: str | None = None


DEV = Actor("dev")
HOST = Actor("host")
ENGINE = Actor("engine")


class TriggerOutcome(NamedTuple):
    """The trigger as it is now, and whether it was made (201) or met (200)."""

    trigger: Trigger
    status: int


class HeldOutcome(NamedTuple):
    """The event is kept for the next wait (202)."""

    held: HeldEvent


class Replayed(NamedTuple):
    """An idempotent repeat: what the first request was answered."""

    record: IdempotencyRecord


class Question(NamedTuple):
    """Something too slow or too easily abused for the writer.

    `schema`: does `text` (a payload) fit the expected schema kept as payload row `subject`?
    `fits`: does the held event `subject` fit the schema `text`? Both are answered by a tuple of
    faults, empty if it fits. `equal`: is `text` equal to what trigger `subject` received? (bool)
    """

    kind: str
    project_id: str
    subject: str
    text: str | None


Answers = Mapping[Question, Any]
NO_ANSWERS: Answers = {}


class Undelivered(Exception):
    """The cause of a refusal to take an event, for the record of unmatched events. `reason` is one of
    no_wait, settled, schema, type; `late_us` how long after the settling it came. The key is known
    here also where the event came by id or to a callback URL."""

    def __init__(
        self, reason: str, project_id: str, event_key: str, trigger_id: str | None, late_us: int | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.project_id = project_id
        self.event_key = event_key
        self.trigger_id = trigger_id
        self.late_us = late_us


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectOperation:
    """Root of the operations within one project. `entropy`: 64 random bits for the ids it makes."""

    background: ClassVar[bool] = False

    actor: Actor
    project_id: str
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def credential(self) -> list[Touch]:
        """The touch of the credential; every `touches()` begins with it."""
        return [("api_keys_by_id", self.actor.api_key_id)] if self.actor.api_key_id else []

    def authorize(self, tx: Transaction) -> None:
        check_credential(tx, self.actor)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredOperation(ProjectOperation):
    """An operation that may need answers; the service works them out and asks again."""

    answers: Answers = field(default_factory=dict)

    def answered(self, answers: Answers) -> AnsweredOperation:
        return replace(self, answers={**self.answers, **answers})


def check_credential(tx: Transaction, actor: Actor) -> None:
    """Raise Unauthenticated if the actor's API key is revoked or expired at this very commit."""
    if actor.api_key_id is None:
        return
    key = tx.api_key(actor.api_key_id)
    if key is None or key.revoked_at is not None:
        raise Unauthenticated("The API key is revoked. Use another one.")
    if key.expires_at is not None and key.expires_at <= tx.wall:
        raise Unauthenticated("The API key has expired. Make a new one or rotate it earlier.")


def check_project(tx: Transaction, project_id: str) -> None:
    if tx.project(project_id) is None:
        raise NotFound(f"There is no project {project_id!r}. Make it with `narrows projects create`.")
