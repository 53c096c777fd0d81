"""Jobs: making, changing and deleting one, and a new signing secret. What they run is in `runs.py`; what
goes with a deleted job is a message (`messages.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from narrows.core.keys import is_slug
from narrows.core.run_records import Job, Message
from narrows.core.signing_secrets import rotate
from narrows.core.states import ENDED, FactKind, MessageKind, RunStatus
from narrows.errors import Conflict, InvalidRequest
from narrows.operations.base import ProjectOperation, check_project
from narrows.operations.waits import changed_job_touches, find_job
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction

#: The states of a run that a job cannot be deleted over.
LIVE: Final = tuple(status for status in RunStatus if status not in ENDED)


class _Rule(NamedTuple):
    """What a field of a job must be; an optional one may be None."""

    holds: Callable[[Any], bool]
    sentence: str
    optional: bool = True


def _text(longest: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_url(value: Any) -> bool:
    return _text(2_048)(value) and value.lower().startswith(("http://", "https://"))


_RULES: Final = {
    "slug": _Rule(
        is_slug,
        "1 to 100 of a-z, 0-9, dot, dash, underscore, the first a letter or digit, and not spelled like an id",
        optional=False,
    ),
    "name": _Rule(_text(200), "a text of at most 200 characters"),
    "description": _Rule(_text(2_000), "a text of at most 2000 characters"),
    "endpoint_url": _Rule(_is_url, "an http or https URL of at most 2048 characters"),
    "timeout_secs": _Rule(_whole(1, 86_400), "a whole number from 1 to 86400", optional=False),
    "max_attempts": _Rule(_whole(1, 100), "a whole number from 1 to 100", optional=False),
    "max_concurrency": _Rule(_whole(1, 100_000), "a whole number from 1 to 100000"),
    "tags": _Rule(_text(1 << 20), "an object of texts"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateJob(ProjectOperation):
    """Make a job. `tags` is a JSON text, `signing_secrets` as `core.signing_secrets` has it.

    Raises NotFound (the project), InvalidRequest, or Conflict where the slug is taken.
    """

    slug: str
    name: str | None = None
    description: str | None = None
    endpoint_url: str | None = None
    timeout_secs: int = 300
    max_attempts: int = 3
    max_concurrency: int | None = None
    tags: str | None = None
    signing_secrets: str

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            ("projects_by_id", self.project_id),
            ("jobs_by_slug", self.project_id, self.slug),
        ]

    def apply(self, tx: Transaction) -> Job:
        self.authorize(tx)
        check_project(tx, self.project_id)
        fields = {name: getattr(self, name) for name in _RULES}
        _check_fields(fields)
        _check_slug_is_free(tx, self.project_id, self.slug)
        job = Job(
            project_id=self.project_id,
            id=tx.new_id(self.entropy),
            **fields,
            signing_secrets=self.signing_secrets,
            version=1,
            created_at=tx.now,
            updated_at=tx.now,
            deleted_at=None,
        )
        return _save(tx, job, FactKind.JOB_CREATED, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateJob(ProjectOperation):
    """Change fields of a job (slug or id): `changes` are names and values, None takes an optional one
    away. Runs that there are keep the `timeout_secs` and `max_attempts` they were made with.

    Raises NotFound, InvalidRequest, or Conflict where a new slug is taken.
    """

    job: str
    changes: tuple[tuple[str, Any], ...]

    def touches(self) -> list[Touch]:
        slugs = [value for name, value in self.changes if name == "slug" and isinstance(value, str)]
        return [
            *self.credential(),
            *changed_job_touches(self.project_id, self.job),
            *(("jobs_by_slug", self.project_id, slug) for slug in slugs),
            # For whoever finds the job under its new slug, or its new limit, in this very commit.
            *_counter_touches(self.project_id, self.job),
        ]

    def apply(self, tx: Transaction) -> Job:
        self.authorize(tx)
        job = find_job(tx, self.project_id, self.job)
        changes = {name: value for name, value in self.changes if getattr(job, name, self) != value}
        if not changes:
            return job
        _check_fields(changes)
        if "slug" in changes:
            _check_slug_is_free(tx, self.project_id, changes["slug"])
        job = job._replace(**changes)
        return _save_changed(tx, job, FactKind.JOB_UPDATED, self, {"fields": sorted(changes)})


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateJobSecret(ProjectOperation):
    """A new signing secret (`encrypted`); the old one goes on signing beside it for `overlap_secs`.
    Raises NotFound."""

    job: str
    encrypted: str
    overlap_secs: int

    def touches(self) -> list[Touch]:
        return [*self.credential(), *changed_job_touches(self.project_id, self.job)]

    def apply(self, tx: Transaction) -> Job:
        self.authorize(tx)
        job = find_job(tx, self.project_id, self.job)
        secrets = rotate(job.signing_secrets, self.encrypted, tx.now, self.overlap_secs)
        job = job._replace(signing_secrets=secrets)
        return _save_changed(tx, job, FactKind.JOB_SECRET_ROTATED, self, {"overlap_secs": self.overlap_secs})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob(ProjectOperation):
    """Delete a job (slug or id). Its row stays for the runs that name it; its slug is free. With
    `cancel_runs` its live runs are canceled by commits that follow at once.

    Raises NotFound, or Conflict where it has live runs and they are not to be canceled.
    """

    job: str
    cancel_runs: bool = False

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            *changed_job_touches(self.project_id, self.job),
            *_counter_touches(self.project_id, self.job),
        ]

    def apply(self, tx: Transaction) -> Job:
        self.authorize(tx)
        job = find_job(tx, self.project_id, self.job)
        live = live_runs(tx, job.project_id, job.id)
        if live and not self.cancel_runs:
            raise Conflict(
                f"The job {job.slug!r} has {live} live {'run' if live == 1 else 'runs'}. Wait for their end, "
                "or cancel them together with it by ?cancel_runs=true."
            )
        deleted = _save_changed(
            tx, job._replace(deleted_at=tx.now), FactKind.JOB_DELETED, self, {"live_runs": live}
        )
        if live:
            kind = MessageKind.CANCEL_RUNS_OF_JOB
            message_id = tx.new_id(self.entropy)
            tx.save(Message(job.project_id, message_id, kind, job.id, None, 0, tx.now))
        return deleted


def _counter_touches(project_id: str, job: str) -> list[Touch]:
    """How many runs a job has, by its id or its slug."""
    return [("run_counters_by_job", project_id, job), ("run_counters_by_slug", project_id, job)]


def live_runs(tx: Transaction, project_id: str, job_id: str) -> int:
    """How many runs of a job have not ended; its counters must have been touched."""
    return sum(tx.run_count(project_id, job_id, status) for status in LIVE)


def _check_fields(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        rule = _RULES.get(name)
        if rule is None:
            raise InvalidRequest(f"A job has no field {name!r} that could be changed.")
        if value is None and rule.optional:
            continue
        if value is None or not rule.holds(value):
            raise InvalidRequest(f"{name} must be {rule.sentence}.")


def _check_slug_is_free(tx: Transaction, project_id: str, slug: str) -> None:
    taken = tx.job_by_slug(project_id, slug)
    if taken is not None:
        raise Conflict(
            f"The slug {slug!r} is that of the job {taken.id}. Update that one, or take another slug."
        )


def _save_changed(
    tx: Transaction, job: Job, kind: FactKind, operation: ProjectOperation, detail: dict[str, Any]
) -> Job:
    return _save(tx, job._replace(version=job.version + 1, updated_at=tx.now), kind, operation, detail)


def _save(
    tx: Transaction,
    job: Job,
    kind: FactKind,
    operation: ProjectOperation,
    detail: dict[str, Any] | None = None,
) -> Job:
    """Save a job with the fact that says what happened to it."""
    tx.save(job)
    tx.record_fact(
        kind,
        job.project_id,
        job.id,
        operation.actor.label,
        operation.entropy,
        version=job.version,
        detail=None if detail is None else json.dumps(detail, separators=(",", ":")),
    )
    return job
