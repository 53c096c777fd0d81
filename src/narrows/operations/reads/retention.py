"""What purge and retention may delete. They only find it; the deleting is an operation's, in bounded
commits, each of which looks again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from narrows.core.ids import first_id_at
from narrows.storage.backend import Reader, Row

#: A row's project and id, where a look over all projects goes on; and what is before them all.
RowPlace = tuple[str, str]
START: Final[RowPlace] = ("", "")
#: One look at settled triggers goes over so many rows at most.
LOOK: Final = 5_000


@dataclass(frozen=True, slots=True)
class SettledTriggers:
    """Ids in order, from `after_id` on, of triggers that were settled before a moment and whose root
    has ended. With them the id that was looked at last, None once there is nothing beyond."""

    project_id: str
    settled_before: int
    after_id: str
    limit: int

    async def run(self, reader: Reader) -> tuple[list[str], str | None]:
        # A trigger is settled after it was requested, and its id is made from that time.
        end = first_id_at(self.settled_before)
        scope: dict[str, Any] = {"project_id": self.project_id, "after_id": self.after_id}
        rows = await reader.rows("settled_ceiling", **scope, before_id=end, looked_at=LOOK - 1)
        ceiling: str | None = rows[0][0] if rows else None
        rows = await reader.rows(
            "settled_triggers",
            **scope,
            last_id=ceiling or end,
            settled_before=self.settled_before,
            most=self.limit,
        )
        ids = [row[0] for row in rows]
        return ids, ids[-1] if len(ids) >= self.limit else ceiling


@dataclass(frozen=True, slots=True)
class CountSettled:
    """How many `SettledTriggers` would find in all."""

    project_id: str
    settled_before: int

    async def run(self, reader: Reader) -> int:
        rows = await reader.rows(
            "count_settled",
            project_id=self.project_id,
            settled_before=self.settled_before,
            before_id=first_id_at(self.settled_before),
        )
        return int(rows[0][0])


_OLD: Final = {
    "triggers": "old_triggers",
    "runs": "old_runs",
    "workflow_runs": "old_workflow_runs",
    "deliveries": "old_deliveries",
}


@dataclass(frozen=True, slots=True)
class Prunable:
    """Looks at the next `limit` old rows of all projects, `triggers`, `runs`, `workflow_runs` or `deliveries`,
    after a place. Answers which of them may go, and the place that it came to, None once there is nothing
    beyond. What goes with a row counts like rows: of workflow runs their steps."""

    table: str
    before: int
    limit: int
    after: RowPlace = START

    async def run(self, reader: Reader) -> tuple[list[RowPlace], RowPlace | None]:
        first_project, after_id = self.after
        before_id, left = first_id_at(self.before), self.limit
        going: list[RowPlace] = []
        # One project at a time: an order over several is one that SQLite would have to sort for. A look
        # that comes to no rows in many of them is bounded as well.
        projects = await reader.rows("projects_from", project_id=first_project, most=self.limit + 1)
        for (project_id,) in projects:
            rows = await reader.rows(
                _OLD[self.table],
                project_id=project_id,
                after_id=after_id if project_id == first_project else "",
                before_id=before_id,
                before=self.before,
                most=left,
            )
            for row_id, may_go, *with_it in rows:
                left -= 1
                if may_go:
                    going.append((project_id, row_id))
                    left -= sum(with_it)
                if left <= 0:
                    return going, (project_id, row_id)
        return going, (projects[-1][0], before_id) if len(projects) > self.limit else None


@dataclass(frozen=True, slots=True)
class WaitGroupsOf:
    """The wait groups (project id, id) that triggers (project id, id) belong to."""

    triggers: tuple[tuple[str, str], ...]

    async def run(self, reader: Reader) -> tuple[tuple[str, str], ...]:
        rows = await reader.load("wait_groups_of_triggers", list(self.triggers))
        return tuple((project_id, group_id) for project_id, group_id in rows)


@dataclass(frozen=True, slots=True)
class OutputsOf:
    """The payload rows (project id, workflow run id, payload id) in which outputs of steps stand, of ended
    workflow runs (project id, id)."""

    workflow_runs: tuple[tuple[str, str], ...]

    async def run(self, reader: Reader) -> tuple[tuple[str, str, str], ...]:
        rows = await reader.load("outputs_of_workflow_runs", list(self.workflow_runs))
        return tuple((project_id, run_id, output_id) for project_id, run_id, output_id in rows)


@dataclass(frozen=True, slots=True)
class SurplusUnmatched:
    """The keys of a project's unmatched events beyond the newest `kept`, up to `limit` of them."""

    project_id: str
    kept: int
    limit: int

    async def run(self, reader: Reader) -> list[Row]:
        return await reader.rows(
            "surplus_unmatched_events", project_id=self.project_id, kept=self.kept, most=self.limit
        )


@dataclass(frozen=True, slots=True)
class OldRows:
    """The keys of rows of a table from before a moment, all of which may go: `facts`, `unmatched_events`
    (project id, id), `idempotency_records` (scope hash) or `stream_tokens` (token hash)."""

    table: str
    before: int
    limit: int

    async def run(self, reader: Reader) -> list[Row]:
        first_id = first_id_at(self.before)
        match self.table:
            case "facts":
                return await reader.rows("old_facts", before_id=first_id, most=self.limit)
            case "unmatched_events":
                return await reader.rows("old_unmatched_events", before_id=first_id, most=self.limit)
            case "idempotency_records":
                return await reader.rows("old_idempotency_records", before=self.before, most=self.limit)
            case "stream_tokens":
                return await reader.rows("old_stream_tokens", before=self.before, most=self.limit)
            case _:
                raise ValueError(f"{self.table} is no table that retention knows")
