"""Workflows: one by slug or id with its definition, a version, the list. Their runs are in
`workflow_runs.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from narrows.core.ids import is_id
from narrows.core.run_records import Job
from narrows.core.workflow_records import Workflow, WorkflowVersion
from narrows.errors import NotFound
from narrows.operations.reads.paging import Page, Walk, bound_of, clamped, look, page_of
from narrows.storage.backend import Reader

T = TypeVar("T", Job, Workflow)


@dataclass(frozen=True, slots=True)
class GetWorkflow:
    """By slug or id, with its newest version. A deleted one is found no more."""

    project_id: str
    workflow: str

    async def run(self, reader: Reader) -> tuple[Workflow, WorkflowVersion]:
        found = await find_workflow(reader, self.project_id, self.workflow)
        if found is None or found.deleted_at is not None:
            raise NotFound(
                f"There is no workflow {self.workflow!r} in this project. List them with GET /v1/workflows."
            )
        return found, await find_version(reader, self.project_id, found.id, found.version)


@dataclass(frozen=True, slots=True)
class GetWorkflowVersion:
    """One definition, also of a deleted workflow, for the runs that go by it."""

    project_id: str
    workflow_id: str
    version: int

    async def run(self, reader: Reader) -> WorkflowVersion:
        return await find_version(reader, self.project_id, self.workflow_id, self.version)


@dataclass(frozen=True, slots=True)
class ListWorkflows:
    """Newest first, without the deleted; `cursor` is an id or a time."""

    project_id: str
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Workflow]:
        limit = clamped(self.limit)
        walk = Walk("list_workflows_page", "list_workflows_floor", {"project_id": self.project_id})
        rows, looked_to = await look(reader, walk, bound_of(self.cursor), limit)
        found = [Workflow(*row) for row in rows]
        return page_of(found, [workflow.id for workflow in found], limit, looked_to)


class Names(NamedTuple):
    """What a definition names: jobs by id and by slug, and workflows by slug."""

    job_ids: frozenset[str]
    job_slugs: frozenset[str]
    workflow_slugs: frozenset[str]


@dataclass(frozen=True, slots=True)
class MissingNames:
    """Those of the names under which there is nothing (yet)."""

    project_id: str
    names: Names

    async def run(self, reader: Reader) -> Names:
        jobs = await self._there(reader, "jobs_by_id", self.names.job_ids, Job)
        by_slug = await self._there(reader, "jobs_by_slug", self.names.job_slugs, Job)
        workflows = await self._there(reader, "workflows_by_slug", self.names.workflow_slugs, Workflow)
        return Names(
            self.names.job_ids - {job.id for job in jobs if job.deleted_at is None},
            self.names.job_slugs - {job.slug for job in by_slug},
            self.names.workflow_slugs - {workflow.slug for workflow in workflows},
        )

    async def _there(self, reader: Reader, lookup: str, named: frozenset[str], kind: type[T]) -> list[T]:
        keys = [(self.project_id, name) for name in sorted(named)]
        return [kind(*row) for row in await reader.load(lookup, list(keys))] if keys else []


async def find_workflow(reader: Reader, project_id: str, workflow: str) -> Workflow | None:
    """By slug or id, by id also a deleted one; no slug is spelled like an id."""
    lookup = "workflows_by_id" if is_id(workflow) else "workflows_by_slug"
    rows = await reader.load(lookup, [(project_id, workflow)])
    return Workflow(*rows[0]) if rows else None


async def find_version(reader: Reader, project_id: str, workflow_id: str, version: int) -> WorkflowVersion:
    rows = await reader.load("workflow_versions_by_id", [(project_id, workflow_id, str(version))])
    if not rows:
        raise NotFound(f"There is no version {version} of the workflow {workflow_id} in this project.")
    return WorkflowVersion(*rows[0])
