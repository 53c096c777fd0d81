"""Runs for people: one, the list, the timeline. What a run kept and waited for is in `checkpoints.py`,
what the engine asks in `due_runs.py`, jobs are in `jobs.py`."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core.records import Fact
from narrows.core.run_records import Run
from narrows.core.workflow_records import WorkflowRun
from narrows.errors import NotFound
from narrows.operations.reads.bodies import fitting_runs, with_run_bodies
from narrows.operations.reads.jobs import find_job
from narrows.operations.reads.paging import LAST_ID, LOOKS, Page, Walk, bound_of, clamped, look, page_of
from narrows.operations.reads.tags import has_tag, text_of_tag
from narrows.storage.backend import Reader


@dataclass(frozen=True, slots=True)
class GetRun:
    """With payload and result."""

    project_id: str
    run_id: str

    async def run(self, reader: Reader) -> Run:
        (run,) = await with_run_bodies(reader, (await find_run(reader, self.project_id, self.run_id),))
        return run


@dataclass(frozen=True, slots=True)
class RunsWithBodies:
    """The runs with their payloads, results and what they keep, in one look for all of them."""

    runs: tuple[Run, ...]

    async def run(self, reader: Reader) -> tuple[Run, ...]:
        return await with_run_bodies(reader, self.runs, state=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRuns:
    """Newest first, with payloads and results. `job` is a slug or an id, `tag` is `name:value` or a
    `name` with any value; `cursor` is an id or a time. No filter has an index: each looks at a
    bounded number of rows and may give a short page."""

    project_id: str
    status: str | None = None
    job: str | None = None
    tag: str | None = None
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Run]:
        limit = clamped(self.limit)
        before = bound_of(self.cursor)
        job = None if self.job is None else await find_job(reader, self.project_id, self.job)
        if self.job is not None and job is None:
            return Page((), False, None)
        filters = {
            "status": self.status,
            "job_id": None if job is None else job.id,
            "tag_text": None if self.tag is None else text_of_tag(self.tag),
        }
        floor = None if all(value is None for value in filters.values()) else "list_runs_floor"
        walk = Walk("list_runs_page", floor, {"project_id": self.project_id, **filters})
        rows, looked_to = await look(reader, walk, before, limit)
        ids = [row[0] for row in rows]
        page = page_of(ids, ids, limit, looked_to)
        return await self._filled(reader, page)

    async def _filled(self, reader: Reader, page: Page[str]) -> Page[Run]:
        """The runs of a page of ids, as many as stay within its size."""
        found = await reader.load("runs_by_id", [(self.project_id, each) for each in page.items])
        runs = sorted(
            (run for row in found if self._holds(run := Run(*row))), key=lambda run: run.id, reverse=True
        )
        fitting = await fitting_runs(reader, runs)
        items = await with_run_bodies(reader, runs[:fitting])
        if fitting < len(runs):
            return Page(items, True, items[-1].id)
        return Page(items, page.has_more, page.next_cursor)

    def _holds(self, run: Run) -> bool:
        """Whether it still is what was asked for: it may have gone on meanwhile."""
        return self.status in (None, run.status) and (self.tag is None or has_tag(run.tags, self.tag))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimeline:
    """What happened to a run and what it logged, newest first, along the chain of its facts."""

    project_id: str
    run_id: str
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Fact]:
        bound_of(self.cursor)  # a wrong one is told before a run that is not there
        run = await find_run(reader, self.project_id, self.run_id)
        return await timeline(reader, run, self.limit, self.cursor)


async def timeline(reader: Reader, subject: Run | WorkflowRun, limit: int, cursor: str | None) -> Page[Fact]:
    """The facts of a run, or of a workflow run and its steps, from the newest on."""
    limit = clamped(limit)
    before = bound_of(cursor)
    newest, links = subject.last_fact_id, limit + 1
    if before != LAST_ID:
        rows = await reader.load("facts_by_id", [(subject.project_id, before)])
        # The steps of a workflow run are named after it.
        if rows and Fact(*rows[0]).subject_id.partition(":")[0] == subject.id:
            newest = Fact(*rows[0]).previous_id
        else:  # a time: the chain is walked from its end
            links = LOOKS[-1]
    if newest is None:
        return Page((), False, None)
    rows = await reader.rows(
        "timeline_of_run",
        project_id=subject.project_id,
        fact_id=newest,
        before=before,
        steps=links,
        most=limit + 1,
    )
    facts = [Fact(*row) for row in rows]
    return page_of(facts, [fact.id for fact in facts], limit, None)


async def find_run(reader: Reader, project_id: str, run_id: str) -> Run:
    rows = await reader.load("runs_by_id", [(project_id, run_id)])
    if not rows:
        raise NotFound(f"There is no run {run_id!r} in this project. It may be past retention.")
    return Run(*rows[0])
