"""What concurrent clients asked of one event key and what they were answered, as values: when each call
began, when its answer came, and what it said. Not here: what answers are right (`model.py`), and how a
history is recorded (`recorder.py`).

Times are microseconds of the wall clock, which clients and servers of a recording share.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

#: What `expires_at` says of a wait without a time-out: 9999-12-31T23:59:59Z.
NEVER = 253_402_300_799_000_000
#: When the answer came of a call whose outcome nobody knows: it may take effect at any time.
NEVER_RETURNED = 1 << 62


class Call(StrEnum):
    OPEN = "open"
    START = "start"  # a workflow, of which a step waits under the key
    SEND = "send"
    SEND_BY_ID = "send by id"
    SEND_PREFIX = "send by prefix"
    CANCEL = "cancel"
    CANCEL_BY_ID = "cancel by id"
    EXTEND = "extend"
    GET = "get"
    GET_BY_ID = "get by id"


class Asked(NamedTuple):
    """A call and its arguments. `payload` is JSON text in one spelling (`wire.py`), None where absent."""

    call: Call
    trigger_id: str | None = None
    payload: str | None = None
    hold_secs: int | None = None
    event_id: str | None = None
    timeout_secs: int = 0
    join: bool = False
    #: Of a get by id: how long the server may wait for the end.
    wait_secs: int | None = None


class Seen(NamedTuple):
    """A trigger as a reply shows it. `settled_at` None: not settled, or not told."""

    id: str
    status: str
    payload: str | None = None
    expires_at: int = NEVER
    settled_at: int | None = None


class SeenHeld(NamedTuple):
    """What a 202 says."""

    id: str
    held_until: int


class Outcome(NamedTuple):
    """An answer. `named`: the status that a 409's sentence names; `settled`: which triggers of this key
    a prefix send lists."""

    status: int
    trigger: Seen | None = None
    held: SeenHeld | None = None
    named: str | None = None
    settled: tuple[Seen, ...] = ()


class Operation(NamedTuple):
    """One call of one client. Without an outcome nobody knows whether it was or ever will be done: the
    connection broke, or the server said so (504)."""

    client: int
    asked: Asked
    invoked_at: int
    returned_at: int | None
    outcome: Outcome | None

    @property
    def ended_at(self) -> int:
        return NEVER_RETURNED if self.returned_at is None or self.outcome is None else self.returned_at


class History(NamedTuple):
    """The life of one key, as its clients saw it."""

    key: str
    operations: tuple[Operation, ...]


# ---- in words ----------------------------------------------------------------------------------


def describe(operation: Operation, since: int) -> str:
    """One line, times in milliseconds after `since`."""
    start = f"{(operation.invoked_at - since) / 1000:9.3f}"
    returned = operation.returned_at
    end = f"{(returned - since) / 1000:9.3f}" if returned is not None and operation.outcome else " " * 9
    return f"client {operation.client} [{start} {end}] {_call(operation.asked)} -> {_answer(operation.outcome, since)}"


def describe_all(operations: Iterable[Operation], since: int) -> str:
    return "\n".join(f"  {describe(operation, since)}" for operation in operations)


def show_time(at: int, since: int) -> str:
    return "never" if at >= NEVER else f"{(at - since) / 1000:.3f}"


def _call(asked: Asked) -> str:
    words = [str(asked.call)]
    if asked.trigger_id is not None:
        words.append(_short(asked.trigger_id))
    if asked.payload is not None:
        words.append(asked.payload)
    if asked.call in (Call.OPEN, Call.EXTEND):
        words.append(f"timeout_secs={asked.timeout_secs}")
    if asked.join:
        words.append("join")
    more = {"hold_secs": asked.hold_secs, "event_id": asked.event_id, "wait_secs": asked.wait_secs}
    words += [f"{name}={value}" for name, value in more.items() if value is not None]
    return " ".join(words)


def _answer(outcome: Outcome | None, since: int) -> str:
    if outcome is None:
        return "unknown"
    words = [str(outcome.status)]
    if outcome.named is not None:
        words.append(f"already {outcome.named}")
    if outcome.held is not None:
        words.append(f"held {_short(outcome.held.id)} until {show_time(outcome.held.held_until, since)}")
    shown = outcome.settled if outcome.trigger is None else (outcome.trigger,)
    words += [_trigger(seen, since) for seen in shown]
    return " ".join(words)


def _trigger(seen: Seen, since: int) -> str:
    words = f"{_short(seen.id)} {seen.status}"
    if seen.payload is not None:
        words += f" {seen.payload}"
    words += f" (expires {show_time(seen.expires_at, since)}"
    if seen.settled_at is not None:
        words += f", settled {show_time(seen.settled_at, since)}"
    return words + ")"


def _short(trigger_id: str) -> str:
    """The end of an id: the beginning is the time, which ids of one moment share."""
    return trigger_id[-6:]
