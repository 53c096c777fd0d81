"""The role that ends workflow runs whose `timeout_secs` are over. It keeps next to nothing: the index on due times holds
those that live and have a limit, so that its head is the queue."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from narrows.engine.loop import Role, earliest_due
from narrows.errors import InternalError, NarrowsError, TooMuchFollows
from narrows.operations.reads.workflow_runs import DueWorkflowRun, DueWorkflowRuns
from narrows.operations.workflow_runs import ExpireWorkflowRuns

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed
    from narrows.storage.noted import RunKey

log = logging.getLogger("narrows.engine")

RUNS_A_ROUND: Final = 100
#: All steps of a workflow run may live: so many of all that are ended in one commit, or one workflow run.
STEPS_A_ROUND: Final = 2_000
#: A workflow run that cannot be ended (a fault of ours) is tried again after this.
POSTPONE_US: Final = 60_000_000
#: After an operation that found nothing due: another came first, or the clock stepped back.
PAUSE_US: Final = 100_000


class ExpireWorkflowRunsRole(Role):
    """Ends each workflow run at its time."""

    name = "expire workflow runs"

    def __init__(self, service: Service) -> None:
        self.ended = 0
        self._service = service
        self._postponed: dict[RunKey, int] = {}

    def wakes(self, committed: Committed) -> int | None:
        return earliest_due((run.due_at for run in committed.workflow_runs), committed, "workflow runs")

    async def round(self) -> int | None:
        service = self._service
        now = service.clock.now()
        self._postponed = {key: at for key, at in self._postponed.items() if at > now}
        page = await service.read(DueWorkflowRuns(limit=RUNS_A_ROUND + len(self._postponed)))
        ready = [
            (each.due_at + service.members.grace_us(each.id), each)
            for each in page
            if each[:2] not in self._postponed
        ]
        due = _bounded([each for ready_at, each in ready if ready_at <= now])
        if due:
            ended = await self._end(due)
            return service.clock.now() + (0 if ended else PAUSE_US)
        return min([*self._postponed.values(), *(ready_at for ready_at, _ in ready)], default=None)

    async def _end(self, due: tuple[RunKey, ...]) -> int:
        """End these in one commit. If one of them cannot be, the others still are."""
        service = self._service
        try:
            ended: int = await service.perform(ExpireWorkflowRuns(ids=due, entropy=service.entropy()))
        except (InternalError, TooMuchFollows) as error:
            return await self._end_apart(due, error)
        self.ended += ended
        return ended

    async def _end_apart(self, due: tuple[RunKey, ...], error: NarrowsError) -> int:
        """One of these breaks an invariant, or too much follows from all of them: halve until it stands alone, and set
        it aside."""
        if len(due) == 1:
            log.error("workflow run %s could not be ended and is tried again later: %s", due[0][1], error)
            self._postponed[due[0]] = self._service.clock.now() + POSTPONE_US
            return 0
        middle = len(due) // 2
        return await self._end(due[:middle]) + await self._end(due[middle:])


def _bounded(due: Sequence[DueWorkflowRun]) -> tuple[RunKey, ...]:
    """The first of these, as far as one commit goes."""
    steps = accumulate(each.steps for each in due)
    count = sum(1 for total in steps if total <= STEPS_A_ROUND)
    return tuple((each.project_id, each.id) for each in due[: max(1, count)])
