"""The role that wakes runs at their due times: delayed ones are queued, those whose lease nobody renewed
are taken from whoever had them.

It keeps nothing: the index on due times holds what is due and nothing else, so that its head is the
queue. A commit that brings something due sooner asks for a round then, and a round reads the head
again: who renewed his lease meanwhile stands further back. Whether a run really is due is decided by
the operation, in its commit.

At the start of a server it first takes back the dispatches of the one before it: what that one
executed itself is queued at once, and workers, who could not reach anybody, get time to be heard.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from narrows.core.runs import WORKER_LEASE_US
from narrows.engine.due import Key
from narrows.engine.loop import Role, earliest_due
from narrows.engine.stats import Histogram
from narrows.errors import InternalError, NarrowsError, TooMuchFollows
from narrows.operations.dispatch import TakeBackDispatches, WakeRuns
from narrows.operations.reads.due_runs import FIRST_PLACE, DueRuns, Executing, ExecutingRuns, Place

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

log = logging.getLogger("narrows.engine")

RUNS_AN_OPERATION: Final = 500
#: A run that cannot be woken (a fault of ours) is tried again after this.
POSTPONE_US: Final = 60_000_000
#: After an operation that found nothing due: another came first, or the clock stepped back.
PAUSE_US: Final = 100_000


class WakeRunsRole(Role):
    """Wakes each run at its time. `holder` is this server, as its own dispatches name it."""

    name = "wake runs"

    def __init__(self, service: Service, holder: str) -> None:
        self.lateness = Histogram()
        self.woken = 0
        self._service = service
        self._clock = service.clock
        self._holder = holder
        self._has_begun = False
        self._postponed: dict[Key, int] = {}

    def wakes(self, committed: Committed) -> int | None:
        return earliest_due((run.due_at for run in committed.runs), committed, "runs")

    async def round(self) -> int | None:
        if not self._has_begun:
            # Of several nodes the others go on executing; what a dead one had comes back with its leases.
            if self._service.members.is_alone:
                await self._take_back()
            self._has_begun = True
        now = self._clock.now()
        self._postponed = {key: again_at for key, again_at in self._postponed.items() if again_at > now}
        limit = RUNS_AN_OPERATION + len(self._postponed)
        page: list[Place] = await self._service.read(DueRuns(limit=limit))
        places = [place for place in page if place[1:] not in self._postponed]
        ours = [
            (at + self._service.members.grace_us(run_id), at, project, run_id)
            for at, project, run_id in places
        ]
        due = [(at, project_id, run_id) for ready_at, at, project_id, run_id in ours if ready_at <= now]
        if due:
            woken = await self._wake(due)
            return self._clock.now() + (0 if woken else PAUSE_US)
        return min([*self._postponed.values(), *(ready_at for ready_at, *_ in ours)], default=None)

    async def _take_back(self) -> None:
        """All pages are read before any of it is written: a longer lease moves back in the index."""
        executing: list[Executing] = []
        after = FIRST_PLACE
        while page := await self._service.read(ExecutingRuns(limit=RUNS_AN_OPERATION, after=after)):
            executing += page
            after = page[-1][:3]
        ids = [(each.project_id, each.run_id) for each in executing if each.holder != self._holder]
        for start in range(0, len(ids), RUNS_AN_OPERATION):
            operation = TakeBackDispatches(
                ids=tuple(ids[start : start + RUNS_AN_OPERATION]),
                holder=self._holder,
                grace_us=WORKER_LEASE_US,
                entropy=self._service.entropy(),
            )
            await self._service.perform(operation)

    async def _wake(self, due: list[Place]) -> int:
        """Wake these in one commit. If one of them cannot be, the others still are."""
        ids = tuple((project_id, run_id) for _, project_id, run_id in due)
        try:
            woken: int = await self._service.perform(WakeRuns(ids=ids, entropy=self._service.entropy()))
        except (InternalError, TooMuchFollows) as error:
            return await self._wake_apart(due, error)
        now = self._clock.now()
        self.woken += woken
        if woken == len(due):
            self.lateness.observe_all((now - at) / 1_000_000 for at, _, _ in due)
        return woken

    async def _wake_apart(self, due: list[Place], error: NarrowsError) -> int:
        """One of these breaks an invariant, or too much follows from all of them: halve until it stands alone, and set
        it aside."""
        if len(due) == 1:
            _, project_id, run_id = due[0]
            log.error("run %s could not be woken and is tried again later: %s", run_id, error)
            self._postponed[project_id, run_id] = self._clock.now() + POSTPONE_US
            return 0
        middle = len(due) // 2
        return await self._wake(due[:middle]) + await self._wake(due[middle:])
