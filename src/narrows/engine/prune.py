"""The role that deletes what has outlived its retention, in small commits, spread out.

It works through its duties one by one: each round is one commit of at most 500 rows, then a pause
of twice as long as that commit took, so that it never has more than a third of the writer. A duty goes
over its table once, so that what has to stay is passed and not looked at again until the next time. Only
that place is remembered: what is left after a crash or a stop is found again by its age.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from narrows.engine.loop import Role
from narrows.operations.reads.retention import START
from narrows.operations.retention import Pruned, PruneRows, PruneRuns, PruneTriggers, PruneWorkflowRuns

if TYPE_CHECKING:
    from narrows.operations.service import Service

ROWS_AN_OPERATION: Final = 500
SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
DAY_US: Final = 86_400 * SECOND_US
IDEMPOTENCY_US: Final = DAY_US
STREAM_TOKEN_US: Final = 3_600 * SECOND_US
#: After everything has been looked through.
PERIOD_US: Final = 600 * SECOND_US
SHORTEST_PAUSE_US: Final = 20_000


class Duty(NamedTuple):
    """Delete what is older than `age_us` from one table; no table means settled triggers, `runs` and
    `workflow_runs` those that have ended, each with all that belongs to them."""

    age_us: int
    table: str | None = None


_ENDED: Final[dict[str, type[PruneRuns | PruneWorkflowRuns]]] = {
    "runs": PruneRuns,
    "workflow_runs": PruneWorkflowRuns,
}


def duties(retention_days: int) -> tuple[Duty, ...]:
    retention_us = retention_days * DAY_US
    return (
        Duty(retention_us),
        Duty(retention_us, "runs"),
        Duty(retention_us, "workflow_runs"),
        Duty(retention_us, "deliveries"),
        Duty(retention_us, "facts"),
        Duty(retention_us, "unmatched_events"),
        Duty(IDEMPOTENCY_US, "idempotency_records"),
        Duty(STREAM_TOKEN_US, "stream_tokens"),
    )


class PruneRole(Role):
    """Deletes what is past retention."""

    name = "prune"
    looks_when_missed = False

    def __init__(self, service: Service, retention_days: int) -> None:
        self.deleted = 0
        self._service = service
        self._clock = service.clock
        self._duties = duties(retention_days)
        self._current = 0
        self._after = START

    async def round(self) -> int | None:
        if not self._service.members.is_first:
            return self._clock.now() + MINUTE_US  # one of the nodes does it
        started = self._clock.monotonic()
        pruned = await self._prune(self._duties[self._current])
        self.deleted += pruned.deleted
        self._after = pruned.next_after or START
        took_us = int((self._clock.monotonic() - started) * SECOND_US)
        if pruned.next_after is None:
            self._current = (self._current + 1) % len(self._duties)
            if self._current == 0:
                return self._clock.now() + PERIOD_US
        return self._clock.now() + max(SHORTEST_PAUSE_US, 2 * took_us)

    async def _prune(self, duty: Duty) -> Pruned:
        service, after, before = self._service, self._after, self._clock.now() - duty.age_us
        if duty.table is None:
            return await service.prune(PruneTriggers(before, ROWS_AN_OPERATION, service.entropy(), after))
        if duty.table in _ENDED:
            going = _ENDED[duty.table](before, ROWS_AN_OPERATION, service.entropy(), after)
            return await service.prune(going)
        return await service.prune(PruneRows(duty.table, before, ROWS_AN_OPERATION, after))
