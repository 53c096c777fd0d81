"""The calls about jobs: what work there is, and the one that starts it. Each says beside `repeat` why
it may, or may not, be sent twice. A job is named by its slug or its id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import UNSET

from narrows.client.call import Call, Repeat, encode_body, encode_payload, encode_query, encode_segment, is_id
from narrows.wire import run_messages
from narrows.wire.run_messages import Job, Run


def create_job(
    slug: str,
    *,
    name: str | None = None,
    description: str | None = None,
    endpoint_url: str | None = None,
    timeout_secs: int = 300,
    max_attempts: int = 3,
    max_concurrency: int | None = None,
    tags: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Make a job. Its `signing_secret` is shown this once: what the requests to its endpoint are signed with.

    With an `endpoint_url` the server calls it for each run; without, workers fetch the runs.
    `timeout_secs` (1 to 86,400) is for one dispatch. `max_concurrency`: runs executing at once.
    Raises Conflict if the slug is taken.

    Example::

        job = client.create_job("resize-image", timeout_secs=60, max_attempts=5)
    """
    request = run_messages.CreateJobRequest(
        slug=slug,
        name=name,
        description=description,
        endpoint_url=endpoint_url,
        timeout_secs=timeout_secs,
        max_attempts=max_attempts,
        max_concurrency=max_concurrency,
        tags=None if tags is None else dict(tags),
    )
    return Call(
        method="POST",
        path="/v1/jobs",
        body=encode_body(request),
        reply=Job,
        repeat=Repeat.KEYED,  # so that a repeat's conflict can be told from somebody else's
        idempotency_key=idempotency_key,
    )


def list_jobs(*, limit: int | None = None, cursor: str | None = None) -> Call[run_messages.JobPage]:
    """One page of jobs, newest first."""
    query = encode_query(limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/jobs", query=query, reply=run_messages.JobPage)


def get_job(job: str) -> Call[Job]:
    """One job. Raises NotFound."""
    return Call(method="GET", path=_path_of_job(job), reply=Job)


def update_job(
    job: str,
    *,
    slug: str = UNSET,  # type: ignore[assignment]
    name: str | None = UNSET,  # type: ignore[assignment]
    description: str | None = UNSET,  # type: ignore[assignment]
    endpoint_url: str | None = UNSET,  # type: ignore[assignment]
    timeout_secs: int = UNSET,  # type: ignore[assignment]
    max_attempts: int = UNSET,  # type: ignore[assignment]
    max_concurrency: int | None = UNSET,  # type: ignore[assignment]
    tags: Mapping[str, str] | None = UNSET,  # type: ignore[assignment]
) -> Call[Job]:
    """Change a job. What is left out stays as it is; None takes an optional field away.

    Runs that exist keep the `timeout_secs` and `max_attempts` that they were made with.
    Raises NotFound, and Conflict if the slug is taken.

    Example::

        client.update_job("resize-image", max_concurrency=None)
    """
    request = run_messages.UpdateJobRequest(
        slug=slug,
        name=name,
        description=description,
        endpoint_url=endpoint_url,
        timeout_secs=timeout_secs,
        max_attempts=max_attempts,
        max_concurrency=max_concurrency,
        tags=dict(tags) if isinstance(tags, Mapping) else tags,
    )
    return Call(
        method="PATCH",
        path=_path_of_job(job),
        body=encode_body(request),
        reply=Job,
        repeat=Repeat.SAFE,  # it sets values; a second setting finds them set
    )


def delete_job(job: str, *, cancel_runs: bool = False) -> Call[Job]:
    """Delete a job, and return it. Its runs stay to be looked at; its slug is free.

    Raises Conflict while it has runs that have not ended; `cancel_runs` cancels those.

    Example::

        client.delete_job("resize-image", cancel_runs=True)
    """
    return Call(
        method="DELETE",
        path=_path_of_job(job),
        query=encode_query(cancel_runs=cancel_runs or None),
        reply=Job,
        # By slug never: the slug is free once it is done, and a late repeat could hit the next job.
        repeat=Repeat.SAFE if is_id(job) else Repeat.NEVER,
    )


def rotate_job_secret(job: str, *, overlap_secs: int = 86_400) -> Call[run_messages.Secret]:
    """Give a job a new signing secret, shown this once. For `overlap_secs` (0 to 2,592,000) requests are
    signed with the old one too. Raises NotFound."""
    request = run_messages.RotateSecretRequest(overlap_secs=overlap_secs)
    return Call(
        method="POST",
        path=_path_of_job(job, "/rotate-secret"),
        body=encode_body(request),
        reply=run_messages.Secret,
        # Safe, and without a key, under which the repeat would be refused since its reply is a secret:
        # a lost first sending leaves a secret that nobody knows.
        repeat=Repeat.SAFE,
    )


def trigger_job(
    job: str,
    payload: Any = UNSET,
    *,
    priority: int = 0,
    scheduled_at: datetime | None = None,
    tags: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Call[Run]:
    """Start a run of a job, and return it: `queued`, or `delayed` until `scheduled_at`.

    `payload` is any JSON value. Runs of higher `priority` (-100 to 100) go first. The same
    `idempotency_key` within a day gives the same run; left out, one is made for this call.
    Raises NotFound.

    Example::

        run = client.trigger_job("resize-image", {"file": "cat.png"})
    """
    request = run_messages.TriggerJobRequest(
        payload=encode_payload(payload),
        priority=priority,
        scheduled_at=scheduled_at,
        tags=None if tags is None else dict(tags),
    )
    return Call(
        method="POST",
        path=_path_of_job(job, "/trigger"),
        body=encode_body(request),
        reply=Run,
        repeat=Repeat.KEYED,  # a second sending would be a second run
        idempotency_key=idempotency_key,
    )


def _path_of_job(job: str, tail: str = "") -> str:
    return f"/v1/jobs/{encode_segment(job)}{tail}"
