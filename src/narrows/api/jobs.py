"""`/v1/jobs`: definitions of work, by slug or id, and the call that starts a run of one. What jobs may be is
decided by the operations; here it is checked what only the border knows: addresses, tags, times."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import asdict

from narrows.api import bodies, idempotency, replies, run_bodies, run_render, run_replies
from narrows.api.call import Call
from narrows.api.checks import check_plain, check_tags, choice, stated
from narrows.api.keys import SECRET_BYTES, make_signing_secret
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core.run_records import Job
from narrows.core.signing_secrets import first_secret, old_until
from narrows.errors import InvalidRequest
from narrows.operations import reads
from narrows.operations.base import Replayed
from narrows.operations.idempotency import Kept
from narrows.operations.jobs import CreateJob, DeleteJob, RotateJobSecret, UpdateJob
from narrows.operations.runs import TriggerJob
from narrows.wire import run_messages as wire
from narrows.wire.times import from_text, to_text

MAX_DELAY_US: Final = 10 * 366 * 86_400 * 1_000_000


async def list_jobs(call: Call) -> Reply:
    """List jobs, newest first."""
    limit, cursor = call.page()
    found = await call.service.read(
        reads.ListJobs(project_id=await call.project(), limit=limit, cursor=cursor)
    )
    return replies.page(wire.JobPage, found, [run_render.job(each) for each in found.items])


async def create_job(call: Call) -> Reply:
    """Create a job; its signing secret is shown once."""
    body = await bodies.decode(call, run_bodies.CREATE_JOB)
    _check_endpoint(call, body.endpoint_url)
    secret, encrypted = _new_secret(call)
    operation = CreateJob(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        entropy=call.entropy(),
        slug=body.slug,
        name=check_plain(body.name, "name"),
        description=body.description,
        endpoint_url=body.endpoint_url,
        timeout_secs=body.timeout_secs,
        max_attempts=body.max_attempts,
        max_concurrency=body.max_concurrency,
        tags=tags_text(body.tags),
        signing_secrets=first_secret(encrypted),
    )
    outcome = await idempotency.perform(call, operation, _keep_job)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    return 201, encode(run_render.job(outcome, secret))


def _new_secret(call: Call) -> tuple[str, str]:
    """A signing secret, and the same as it is kept."""
    return make_signing_secret(call.service.clock.random_bytes(SECRET_BYTES), call.api.settings.keyring)


def _keep_job(job: Job) -> Kept:
    return Kept(status=201, secret_id=job.id)


def _check_endpoint(call: Call, url: Any) -> None:
    """Raise InvalidRequest for an address that is never called. What its name leads to is asked when it is."""
    if isinstance(url, str):
        call.api.settings.guard.check_url(url)


def tags_text(tags: dict[str, str] | None) -> str | None:
    """Tags as they are kept; none where there are none."""
    check_tags(tags)
    return encode(tags).decode() if tags else None


async def get_job(call: Call) -> Reply:
    """Get a job by its slug or id."""
    found = await call.service.read(reads.GetJob(await call.project(), call.param))
    return 200, encode(run_render.job(found))


async def update_job(call: Call) -> Reply:
    """Change a job; what is left out stays as it is."""
    body = await bodies.decode(call, run_bodies.UPDATE_JOB)
    given = {name: value for name, value in asdict(body).items() if value is not UNSET}
    project_id = await call.project(given.pop("project_id", None))
    if "tags" in given:
        given["tags"] = tags_text(_string_tags(given["tags"]))
    if isinstance(given.get("name"), str):
        check_plain(given["name"], "name")
    _check_endpoint(call, given.get("endpoint_url"))
    job = await call.perform(
        UpdateJob(
            actor=call.credential.actor,
            project_id=project_id,
            entropy=call.entropy(),
            job=call.param,
            changes=tuple(given.items()),
        )
    )
    return 200, encode(run_render.job(job))


def _string_tags(tags: Any) -> dict[str, str] | None:
    if tags is None or (isinstance(tags, dict) and all(isinstance(each, str) for each in tags.values())):
        return tags
    raise InvalidRequest("tags must be an object of texts, or null.")


async def delete_job(call: Call) -> Reply:
    """Delete a job; its runs stay to be looked at."""
    cancel_runs = choice(stated(call.query, "cancel_runs"), "cancel_runs", ("true", "false"))
    job = await call.perform(
        DeleteJob(
            actor=call.credential.actor,
            project_id=await call.project(),
            entropy=call.entropy(),
            job=call.param,
            cancel_runs=cancel_runs == "true",
        )
    )
    return 200, encode(run_render.job(job))


async def rotate_job_secret(call: Call) -> Reply:
    """Give a job a new signing secret, shown once."""
    body = await bodies.decode(call, run_bodies.ROTATE_SECRET)
    secret, encrypted = _new_secret(call)
    operation = RotateJobSecret(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        entropy=call.entropy(),
        job=call.param,
        encrypted=encrypted,
        overlap_secs=body.overlap_secs,
    )
    outcome = await idempotency.perform(call, operation, _keep_rotation)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    until = old_until(outcome.signing_secrets)
    return 200, encode(
        wire.Secret(
            signing_secret=secret,
            old_until=None if until is None else to_text(until),  # type: ignore[arg-type]  # times go out as text
        )
    )


def _keep_rotation(job: Job) -> Kept:
    return Kept(status=200, secret_id=job.id)


async def trigger_job(call: Call) -> Reply:
    """Start a run of a job."""
    body = await bodies.decode(call, run_bodies.TRIGGER_JOB)
    operation = TriggerJob(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        entropy=call.entropy(),
        job=call.param,
        payload=bodies.payload_text(body.payload),
        priority=body.priority,
        scheduled_at=_scheduled_at(call, body.scheduled_at),
        tags=tags_text(body.tags),
    )
    outcome = await idempotency.perform(call, operation, run_replies.keep_new_run)
    if isinstance(outcome, Replayed):
        return await run_replies.replay_new_run(call, outcome.record)
    return await run_replies.run(call, outcome, 201)


def _scheduled_at(call: Call, text: str | None) -> int | None:
    """When a run is to begin. A time that has passed means now."""
    if text is None:
        return None
    at = from_text(text, "scheduled_at")
    if at > call.service.clock.now() + MAX_DELAY_US:
        raise InvalidRequest("scheduled_at is more than ten years away; take a time within ten years.")
    return at
