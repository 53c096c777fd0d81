"""The values that the model of the simulation works with: waits, held events, and JSON equality as the
contract has it. Written from the contract and not from the code under test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from narrows.operations.idempotency import Idempotent
from narrows.operations.questions import Answered as WithAnswers
from tests.simulation.run_values import Group

if TYPE_CHECKING:
    from tests.simulation.workflow_values import StepGroup

DAY_US = 86_400 * 1_000_000
#: The limits of the simulated server.
HELD_PER_KEY = 3
HELD_PER_PROJECT = 8
#: The schemas that the clients use, and what fits them.
INTEGER_SCHEMA = '{"type":"integer"}'
OBJECT_SCHEMA = '{"type":"object"}'


class Violation(AssertionError):
    """A promise was broken."""


def same_json(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(_plain(json.loads(one, parse_int=Decimal)) == _plain(json.loads(other, parse_int=Decimal)))


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return Decimal(str(value)) if isinstance(value, float) else value


def fits(schema: str | None, payload: str | None) -> bool:
    if schema is None:
        return True
    value = None if payload is None else json.loads(payload)
    if schema == INTEGER_SCHEMA:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    return isinstance(value, dict)


def label_of(operation: Any) -> str:
    """What the commits of a request go by: the label of who asked, one of its own for each request."""
    inner = operation.operation if isinstance(operation, WithAnswers) else operation
    inner = inner.operation if isinstance(inner, Idempotent) else inner
    actor = getattr(inner, "actor", None)
    return "" if actor is None else actor.label


def has_done_something(value: Any) -> bool:
    """A chunk of a prefix send that settled nothing has not, nor a chunk of a purge that deleted nothing."""
    return bool(value != 0 and getattr(value, "settled", None) != ())


@dataclass(slots=True)
class Wait:
    project_id: str
    id: str
    event_key: str
    ordinal: int
    version: int
    status: str
    payload: str | None
    timeout_secs: int
    requested_at: int
    expires_at: int
    settled_at: int | None
    sent_by: str | None
    schema: str | None = None
    #: Its root has not ended, so that it must not be purged.
    needed: bool = False
    #: What it belongs to if a run opened it.
    group: Group | StepGroup | None = field(default=None, repr=False, compare=False)
    is_sleep: bool = False
    is_approval: bool = False

    @property
    def takes_events(self) -> bool:
        return not (self.is_sleep or self.is_approval)

    def row(self) -> tuple[Any, ...]:
        """As `dump_triggers` in the database shows it."""
        return (
            self.project_id, self.id, self.event_key, self.ordinal, self.version, self.status,
            self.payload, self.timeout_secs, self.requested_at, self.expires_at, self.settled_at,
            self.sent_by,
        )  # fmt: skip


@dataclass(slots=True)
class Held:
    project_id: str
    id: str
    event_key: str
    event_id: str | None
    status: str
    payload: str | None
    held_until: int
    trigger_id: str | None
    sent_by: str | None = None
    #: How many messages, one out of the other, led to it; when it was kept.
    hops: int = 0
    kept_at: int = 0

    def row(self) -> tuple[Any, ...]:
        return (
            self.project_id, self.id, self.event_key, self.event_id, self.status, self.payload,
            self.held_until, self.trigger_id,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request with an Idempotency-Key was answered."""

    body_hash: str
    trigger_id: str | None
    created_at: int
