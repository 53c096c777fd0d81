"""The role that deletes what has outlived its retention, in small commits, spread out.

It works through its duties one by one: each round is one commit of at most 500 rows, then a pause
of twice as long as that commit took, so that it never has more than a third of the writer. Nothing
is remembered between rounds: what is left after a crash or a stop is found again by its age.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from narrows.engine.loop import Role, entropy_of
from narrows.operations import retention

if TYPE_CHECKING:
    from narrows.operations.service import Service

ROWS_AN_OPERATION: Final = 500
SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
IDEMPOTENCY_US: Final = DAY_US
STREAM_TOKEN_US: Final = 3_600 * SECOND_US
#: After everything has been looked through.
PERIOD_US: Final = 600 * SECOND_US
SHORTEST_PAUSE_US: Final = 20_000


class Duty(NamedTuple):
    """Delete what is older than `age_us`: `operation(before, limit, entropy)` answers how many went."""

    age_us: int
    operation: Callable[..., Any]


def duties(retention_days: int) -> tuple[Duty, ...]:
    retention_us = retention_days * DAY_US
    return (
        Duty(retention_us, retention.PruneTriggers),
        Duty(retention_us, retention.PruneFacts),
        Duty(retention_us, retention.PruneUnmatched),
        Duty(IDEMPOTENCY_US, retention.PruneIdempotency),
        Duty(STREAM_TOKEN_US, retention.PruneStreamTokens),
    )


class PruneRole(Role):
    """Deletes what is past retention."""

    name = "prune"

    def __init__(self, service: Service, retention_days: int) -> None:
        self.deleted = 0
        self._service = service
        self._clock = service.clock
        self._duties = duties(retention_days)
        self._current = 0

    async def round(self) -> int | None:
        duty = self._duties[self._current]
        started = self._clock.monotonic()
        operation = duty.operation(
            before=self._clock.now() - duty.age_us, limit=ROWS_AN_OPERATION, entropy=entropy_of(self._clock)
        )
        deleted: int = await self._service.perform(operation)
        self.deleted += deleted
        took_us = int((self._clock.monotonic() - started) * SECOND_US)
        if deleted == 0:
            self._current = (self._current + 1) % len(self._duties)
            if self._current == 0:
                return self._clock.now() + PERIOD_US
        return self._clock.now() + max(SHORTEST_PAUSE_US, 2 * took_us)
