"""What follows for a waiter when one of the triggers of its wait group is settled. Pure.

A group is reached when enough of its triggers are received, and lost when they no longer can be.
Either way the wait is over: the triggers that are still open are canceled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from narrows.core import runs
from narrows.core.records import Trigger
from narrows.core.run_records import Run, WaitGroup
from narrows.core.states import SETTLED, FactKind, OnEnd, RunStatus, TriggerStatus

WAIT_IS_OVER: Final = "the wait of its group is over"


class Advance(NamedTuple):
    """The run as it goes on, the fact that says so, and the triggers that are of no use any more."""

    run: Run
    kind: FactKind
    losers: tuple[Trigger, ...]


def needed(mode: str, count: int | None, size: int) -> int:
    """How many of a group's triggers must be received."""
    if mode == "count":
        return count or size
    return 1 if mode == "any" else size


def advance(
    run: Run, group: WaitGroup, triggers: Sequence[Trigger], settled: Trigger, now: int
) -> Advance | None:
    """What follows when `settled`, one of the group's `triggers`, has just been settled; None where
    the waiter goes on waiting, or no longer waits for this group."""
    if run.status != RunStatus.WAITING or run.wait_group_id != group.id:
        return None
    received = sum(trigger.status == TriggerStatus.RECEIVED for trigger in triggers)
    waiting = tuple(trigger for trigger in triggers if trigger.status == TriggerStatus.WAITING)
    if received >= group.needed:
        return Advance(runs.resume(run), FactKind.RUN_RESUMED, waiting)
    if received + len(waiting) >= group.needed:
        return None
    return _lost(run, group, settled, waiting, now)


def _lost(run: Run, group: WaitGroup, settled: Trigger, losers: tuple[Trigger, ...], now: int) -> Advance:
    """The wait cannot be reached any more. Whoever asked for it has said what to do then."""
    timed_out = settled.status == TriggerStatus.TIMED_OUT
    if (group.on_timeout if timed_out else group.on_cancel) == OnEnd.RESUME:
        return Advance(runs.resume(run), FactKind.RUN_RESUMED, losers)
    if timed_out:
        error = f"its wait for {settled.event_key} timed out after {settled.timeout_secs} s"
        return Advance(runs.time_out(run, error, now), FactKind.RUN_TIMED_OUT, losers)
    error = f"its wait for {settled.event_key} was canceled"
    return Advance(runs.cancel(run, error, now), FactKind.RUN_CANCELED, losers)


def ended_by(triggers: Sequence[Trigger]) -> Trigger | None:
    """Which trigger of a group ended its wait: the last to be settled but for those that were of no use any
    more. Within one commit the facts know the order."""
    deciding = (each for each in triggers if each.status in SETTLED and each.error != WAIT_IS_OVER)
    return max(deciding, key=lambda each: (each.settled_at or 0, each.last_fact_id or ""), default=None)
