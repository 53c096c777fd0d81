"""Waiting until a trigger is settled: a long poll by id, again and again, through lost connections
and restarts of the server. Pure logic over `steps.py`; it opens no wait by itself."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from narrows.client import calls
from narrows.client.attempts import OutOfTime, attempt
from narrows.client.steps import Conditions, Step
from narrows.errors import NarrowsError
from narrows.wire.messages import Trigger

#: How long one poll stays open. Under the idle limits of common proxies (60 s).
POLL_SECS = 30


class StillWaiting(NarrowsError, TimeoutError):
    """The local `timeout_secs` of `wait` is over. The trigger waits on, unharmed, for its own time-out;
    `trigger` is how it was last seen. It is a `TimeoutError`."""

    code = "still_waiting"

    def __init__(self, trigger: Trigger, timeout_secs: float) -> None:
        super().__init__(
            f"{trigger.event_key} was still waiting after {timeout_secs:g} s; the wait is open; call wait again to go on."
        )
        self.trigger = trigger


@dataclass(frozen=True, slots=True)
class Wait:
    """The plan of `wait`."""

    event_key: str | Trigger | None
    trigger_id: str | None
    timeout_secs: float | None

    def steps(self, conditions: Conditions) -> Generator[Step, Any, Trigger]:
        now = conditions.pace.monotonic
        until = math.inf if self.timeout_secs is None else now() + self.timeout_secs
        known = self.event_key
        if isinstance(known, Trigger) and self.timeout_secs != 0:
            trigger = known
        else:
            # However little time is given, the server is asked once.
            trigger = yield from calls.get(known, trigger_id=self.trigger_id).steps(conditions)
        while trigger.status == "waiting":
            if now() >= until:
                raise StillWaiting(trigger, self.timeout_secs or 0)
            poll_secs = max(1, math.ceil(min(POLL_SECS, until - now())))
            poll = calls.wait_once(trigger_id=trigger.id, timeout_secs=poll_secs)
            try:
                trigger = yield from attempt(
                    poll, conditions, retry_secs=conditions.reconnect_secs, until=until
                )
            except OutOfTime:
                raise StillWaiting(trigger, self.timeout_secs or 0) from None
        return trigger


def wait(
    event_key: str | Trigger | None = None,
    *,
    trigger_id: str | None = None,
    timeout_secs: float | None = None,
) -> Wait:
    """Wait until the trigger is settled, and return it: `received`, `timed_out` or `canceled`.

    Opens nothing: the trigger must exist (`open`). It is followed by id, so a later wait under the same
    key is never mistaken for it, and lost connections and restarts of the server are lived through.
    With a key, the waiting trigger is meant, else the newest, which may be settled already.

    `timeout_secs` limits only this call, in seconds; None waits as long as the trigger does.
    Raises StillWaiting (a TimeoutError) when it is over, NotFound where there is no such trigger, and
    ConnectionFailed where the server could not be reached for the client's `reconnect_secs`.

    Example::

        trigger = client.open("approval:order_1", timeout_secs=600)
        settled = client.wait(trigger)
        if settled.status == "received":
            print(settled.response_payload)
    """
    return Wait(event_key, trigger_id, timeout_secs)
