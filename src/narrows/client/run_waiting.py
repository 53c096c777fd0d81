"""Waiting until a run has ended: a long poll, again and again, through lost connections and restarts
of the server. Pure logic over `steps.py`; the same for triggers is in `waiting.py`."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from narrows.client import calls
from narrows.client.attempts import OutOfTime, attempt
from narrows.client.steps import Conditions, Step
from narrows.client.waiting import POLL_SECS
from narrows.errors import NarrowsError
from narrows.wire.run_messages import Run

LIVE = frozenset({"delayed", "queued", "executing", "waiting"})


class StillRunning(NarrowsError, TimeoutError):
    """The local `timeout_secs` of `wait_for_run` is over. The run goes on, unharmed; `run` is how it was
    last seen. It is a `TimeoutError`."""

    code = "still_running"

    def __init__(self, run: Run, timeout_secs: float) -> None:
        super().__init__(
            f"Run {run.id} was {run.status} after {timeout_secs:g} s; it goes on; call wait_for_run again to follow it."
        )
        self.run = run


@dataclass(frozen=True, slots=True)
class WaitForRun:
    """The plan of `wait_for_run`."""

    run: str | Run
    timeout_secs: float | None

    def steps(self, conditions: Conditions) -> Generator[Step, Any, Run]:
        now = conditions.pace.monotonic
        until = math.inf if self.timeout_secs is None else now() + self.timeout_secs
        known = self.run
        if isinstance(known, Run) and self.timeout_secs != 0:
            run = known
        else:
            # However little time is given, the server is asked once.
            run = yield from calls.get_run(known).steps(conditions)
        while run.status in LIVE:
            if now() >= until:
                raise StillRunning(run, self.timeout_secs or 0)
            poll_secs = max(1, math.ceil(min(POLL_SECS, until - now())))
            poll = calls.wait_for_run_once(run, timeout_secs=poll_secs)
            try:
                run = yield from attempt(poll, conditions, retry_secs=conditions.reconnect_secs, until=until)
            except OutOfTime:
                raise StillRunning(run, self.timeout_secs or 0) from None
        return run


def wait_for_run(run: str | Run, *, timeout_secs: float | None = None) -> WaitForRun:
    """Wait until a run has ended, and return it: `completed`, `failed`, `dead_letter`, `timed_out` or
    `canceled`. Lost connections and restarts of the server are lived through.

    `timeout_secs` limits only this call, in seconds; None waits as long as the run lasts.
    Raises StillRunning (a TimeoutError) when it is over, NotFound, and ConnectionFailed where the server
    could not be reached for the client's `reconnect_secs`.

    Example::

        run = client.trigger_job("resize-image", {"file": "cat.png"})
        ended = client.wait_for_run(run)
        if ended.status == "completed":
            print(ended.result)
    """
    return WaitForRun(run, timeout_secs)
