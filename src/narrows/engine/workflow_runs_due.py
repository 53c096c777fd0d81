"""The role that ends workflow runs whose `timeout_secs` are over. It keeps nothing: the index on due times holds
those that live and have a limit, so that its head is the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from narrows.engine.loop import Role, earliest_due
from narrows.operations.reads.workflow_runs import DueWorkflowRuns
from narrows.operations.workflow_runs import ExpireWorkflowRuns

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

RUNS_A_ROUND: Final = 100
#: After an operation that found nothing due: another came first, or the clock stepped back.
PAUSE_US: Final = 100_000


class ExpireWorkflowRunsRole(Role):
    """Ends each workflow run at its time."""

    name = "expire workflow runs"

    def __init__(self, service: Service) -> None:
        self.ended = 0
        self._service = service

    def wakes(self, committed: Committed) -> int | None:
        return earliest_due((run.due_at for run in committed.workflow_runs), committed, "workflow runs")

    async def round(self) -> int | None:
        service = self._service
        page = await service.read(DueWorkflowRuns(limit=RUNS_A_ROUND))
        now = service.clock.now()
        ready = [
            (due_at + service.members.grace_us(run_id), project_id, run_id)
            for project_id, run_id, due_at in page
        ]
        due = tuple((project_id, run_id) for ready_at, project_id, run_id in ready if ready_at <= now)
        if not due:
            return min((ready_at for ready_at, *_ in ready), default=None)
        ended: int = await service.perform(ExpireWorkflowRuns(ids=due, entropy=service.entropy()))
        self.ended += ended
        return service.clock.now() + (0 if ended else PAUSE_US)
