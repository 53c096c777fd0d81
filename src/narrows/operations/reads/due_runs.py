"""What the engine and the metrics ask about runs: due times, dispatches, what a deleted job left, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from narrows.core.records import NEVER
from narrows.core.run_records import RunCounters
from narrows.core.workflow_records import WorkflowRunCounters
from narrows.storage.backend import Reader

#: A place in the order of due times: (due_at, project id, run id).
Place = tuple[int, str, str]
FIRST_PLACE: Final[Place] = (0, "", "")
#: No dispatch, and so no lease, lasts longer.
LONGEST_DISPATCH_US: Final = 86_400 * 1_000_000
#: One look for the live runs of a job goes over so many rows at most.
LOOK: Final = 5_000


class Executing(NamedTuple):
    """A dispatch: until when its lease is, and whose."""

    due_at: int
    project_id: str
    run_id: str
    holder: str | None


@dataclass(frozen=True, slots=True)
class DueRuns:
    """Delayed runs by when they are queued, and executing ones by when their lease is lost, in this
    order, after a place in it: as (due_at, project id, run id)."""

    after: Place = FIRST_PLACE
    until: int = NEVER
    limit: int = 500

    async def run(self, reader: Reader) -> list[Place]:
        rows = await reader.rows("due_runs", **_after(self.after), until=self.until, most=self.limit)
        return [(at, project_id, run_id) for at, project_id, run_id in rows]


@dataclass(frozen=True, slots=True)
class ExecutingRuns:
    """Every dispatch there is, by the ends of the leases, after a place in that order. To take them
    over after a start, read all pages first: a renewed lease moves back in the order."""

    limit: int = 500
    after: Place = FIRST_PLACE

    async def run(self, reader: Reader) -> list[Executing]:
        until = reader.now + LONGEST_DISPATCH_US
        rows = await reader.rows("executing_runs", **_after(self.after), until=until, most=self.limit)
        return [Executing(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class LiveRunsOfJob:
    """Ids, in order, of runs of a job that have not ended, between two ids. With them the id up to
    which was looked, None once there is nothing beyond."""

    project_id: str
    job_id: str
    after_id: str
    before_id: str
    limit: int

    async def run(self, reader: Reader) -> tuple[tuple[str, ...], str | None]:
        scope = {"project_id": self.project_id, "after_id": self.after_id, "before_id": self.before_id}
        rows = await reader.rows("live_runs_ceiling", **scope, looked_at=LOOK - 1)
        ceiling: str | None = rows[0][0] if rows else None
        rows = await reader.rows(
            "live_runs_of_job",
            **scope,
            job_id=self.job_id,
            last_id=ceiling or self.before_id,
            most=self.limit,
        )
        ids = tuple(row[0] for row in rows)
        return ids, ids[-1] if len(ids) >= self.limit else ceiling


@dataclass(frozen=True, slots=True)
class CountRuns:
    """How many runs there are in each status, over all projects. Costs the same for any number."""

    async def run(self, reader: Reader) -> dict[str, int]:
        (counts,) = await reader.rows("count_runs_by_status")
        return dict(zip(RunCounters._fields[3:], counts, strict=True))


@dataclass(frozen=True, slots=True)
class CountWorkflowRuns:
    """The same for workflow runs."""

    async def run(self, reader: Reader) -> dict[str, int]:
        (counts,) = await reader.rows("count_workflow_runs_by_status")
        return dict(zip(WorkflowRunCounters._fields[3:], counts, strict=True))


def _after(place: Place) -> dict[str, int | str]:
    after_at, after_project_id, after_id = place
    return {"after_at": after_at, "after_project_id": after_project_id, "after_id": after_id}
