"""Jobs: one by slug or id, the list, those with queued runs; and the messages that are to be consumed.
Runs are in `runs.py`."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core.ids import is_id
from narrows.core.json_texts import compact
from narrows.core.run_records import Job, Message
from narrows.errors import NotFound
from narrows.operations.reads.paging import Page, Walk, bound_of, clamped, look, page_of
from narrows.storage.backend import Reader


@dataclass(frozen=True, slots=True)
class GetJob:
    """By slug or id. A deleted job is found only by id and only `even_deleted`, for the runs it had."""

    project_id: str
    job: str
    even_deleted: bool = False

    async def run(self, reader: Reader) -> Job:
        job = await find_job(reader, self.project_id, self.job)
        if job is None or (job.deleted_at is not None and not self.even_deleted):
            raise NotFound(f"There is no job {self.job!r} in this project. List them with GET /v1/jobs.")
        return job


@dataclass(frozen=True, slots=True)
class JobsById:
    """Those of the jobs (project id, job id) that there are, the deleted too."""

    ids: tuple[tuple[str, str], ...]

    async def run(self, reader: Reader) -> dict[tuple[str, str], Job]:
        rows = await reader.load("jobs_by_id", sorted(set(self.ids))) if self.ids else []
        return {(job.project_id, job.id): job for job in (Job(*row) for row in rows)}


@dataclass(frozen=True, slots=True)
class ListJobs:
    """Newest first, without the deleted; `cursor` is an id or a time."""

    project_id: str
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Job]:
        limit = clamped(self.limit)
        walk = Walk("list_jobs_page", "list_jobs_floor", {"project_id": self.project_id})
        rows, looked_to = await look(reader, walk, bound_of(self.cursor), limit)
        jobs = [Job(*row) for row in rows]
        return page_of(jobs, [job.id for job in jobs], limit, looked_to)


@dataclass(frozen=True, slots=True)
class QueuedJobs:
    """Every job, of all projects, that has queued runs: costs a few probes a job, not a look at its runs."""

    async def run(self, reader: Reader) -> tuple[Job, ...]:
        return tuple(Job(*row) for row in await reader.rows("queued_jobs"))


@dataclass(frozen=True, slots=True)
class PendingMessages:
    """What one root has asked of others and is not done yet, of all projects, the oldest first; without those
    that are `postponed`, by their ids."""

    limit: int
    postponed: tuple[str, ...] = ()

    async def run(self, reader: Reader) -> tuple[Message, ...]:
        rows = await reader.rows("pending_messages", most=self.limit, postponed=compact(self.postponed))
        return tuple(Message(*row) for row in rows)


async def find_job(reader: Reader, project_id: str, job: str) -> Job | None:
    """By slug or id; no slug is spelled like an id."""
    lookup = "jobs_by_id" if is_id(job) else "jobs_by_slug"
    rows = await reader.load(lookup, [(project_id, job)])
    return Job(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class JobsWithQueuedRuns:
    """Which of these jobs (project id, job id) have queued runs."""

    keys: tuple[tuple[str, str], ...]

    async def run(self, reader: Reader) -> list[tuple[str, str]]:
        rows = await reader.load("jobs_with_queued_runs", list(self.keys))
        return [(project_id, job_id) for project_id, job_id in rows]
