"""The calls about runs from outside: look, wait, cancel, replay, and a worker's claim. Each says beside
`repeat` why it may, or may not, be sent twice. What a run itself may call is in `run_plane.py`."""

from __future__ import annotations

from collections.abc import Iterable

from narrows.client.call import Call, Repeat, encode_body, encode_query, encode_segment
from narrows.wire import run_messages
from narrows.wire.run_messages import Run


def list_runs(
    *,
    status: str | None = None,
    job: str | None = None,
    tag: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[run_messages.RunPage]:
    """One page of runs, newest first; `iterate_runs` goes through all pages.

    `job` is a slug or id, `tag` "name" or "name:value".

    Example::

        page = client.list_runs(status="dead_letter")
    """
    query = encode_query(status=status, job=job, tag=tag, limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/runs", query=query, reply=run_messages.RunPage)


def get_run(run: str | Run) -> Call[Run]:
    """One run, by id. Raises NotFound."""
    return Call(method="GET", path=_path_of_run(run), reply=Run)


def cancel_run(run: str | Run) -> Call[Run]:
    """Cancel a run with all that it waits for, and return it. Whoever executes it is told at his next
    call. Raises NotFound, and Conflict if it has ended."""
    path = _path_of_run(run)
    # Safe: ids are never reused. If the repeat is a conflict, a look tells whether it was canceled.
    confirm: Call[Run] = Call(method="GET", path=path, reply=Run)
    return Call(method="DELETE", path=path, reply=Run, repeat=Repeat.SAFE, confirm=confirm)


def replay_run(run: str | Run, *, idempotency_key: str | None = None) -> Call[Run]:
    """Start a new run like one that failed, ended in `dead_letter`, timed out or was canceled: with its
    payload and what it kept. Returns the new run. Raises NotFound, and Conflict for any other status.

    Example::

        for run in client.iterate_runs(status="dead_letter"):
            client.replay_run(run)
    """
    return Call(
        method="POST",
        path=_path_of_run(run, "/replay"),
        reply=Run,
        repeat=Repeat.KEYED,  # a second sending would be a second run
        idempotency_key=idempotency_key,
    )


def run_events(
    run: str | Run, *, limit: int | None = None, cursor: str | None = None
) -> Call[run_messages.RunEventPage]:
    """One page of a run's timeline, newest first: what happened to it and what it logged. Raises NotFound."""
    query = encode_query(limit=limit, cursor=cursor)
    return Call(method="GET", path=_path_of_run(run, "/events"), query=query, reply=run_messages.RunEventPage)


def wait_for_run_once(run: str | Run, *, timeout_secs: int = 30) -> Call[Run]:
    """One long poll: the run when it has ended, or as it is after `timeout_secs` (at most 60)."""
    query = encode_query(timeout_secs=timeout_secs)
    path = _path_of_run(run, "/wait")
    return Call(method="GET", path=path, query=query, reply=Run, answer_secs=timeout_secs + 10.0)


def claim_runs(
    jobs: Iterable[str], *, limit: int = 1, wait_secs: int = 30, worker: str | None = None
) -> Call[run_messages.ClaimResult]:
    """Take up to `limit` (1 to 100) queued runs of these jobs (slugs or ids) for execution; with none
    queued, wait up to `wait_secs` (at most 60) for one. `Worker` does this for you.

    Each comes with its run token and a lease, which the run plane's heartbeat renews. A claim whose
    answer is lost leaves its runs taken until their leases end.
    """
    request = run_messages.ClaimRequest(jobs=[*jobs], limit=limit, wait_secs=wait_secs, worker=worker)
    return Call(
        method="POST",
        path="/v1/workers/claim",
        body=encode_body(request),
        reply=run_messages.ClaimResult,
        repeat=Repeat.SAFE,  # it takes other runs; those of the first come back with their leases' end
        answer_secs=wait_secs + 10.0,
    )


def _path_of_run(run: str | Run, tail: str = "") -> str:
    return f"/v1/runs/{encode_segment(run.id if isinstance(run, Run) else run)}{tail}"
