"""`POST /v1/workers/claim`: runs for a worker, with their tokens and where they were. It waits for them as
long as it is told, and what was claimed for a worker that has gone is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from narrows.api import bodies, run_bodies, run_render, run_replies
from narrows.api.call import Call
from narrows.api.checks import check_plain
from narrows.api.problems import ClientGone
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core.run_records import Job, Run
from narrows.core.runs import WORKER_LEASE_US
from narrows.errors import Conflict, InvalidRequest
from narrows.operations import reads
from narrows.operations.dispatch import Claim
from narrows.wire import run_messages as wire

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

MAX_KNOWN: Final = 10_000


class KnownJobs:
    """The jobs that workers ask for, so that a claim costs no look at them. Every commit that changes a
    job is heard here, and what was read while one came in is not kept."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._jobs: dict[tuple[str, str], Job] = {}
        self._changes = 0
        service.feed.subscribe(self._learn)

    async def find(self, project_id: str, job: str) -> Job:
        """By slug or id. Raises NotFound."""
        known = self._jobs.get((project_id, job))
        if known is not None:
            return known
        changes = self._changes
        found: Job = await self._service.read(reads.GetJob(project_id, job))
        if changes == self._changes:
            if len(self._jobs) >= MAX_KNOWN:
                self._jobs.clear()
            self._jobs[project_id, job] = found
        return found

    def _learn(self, committed: Committed) -> None:
        if committed.elsewhere is not None and committed.elsewhere.missed:
            self._changes += 1
            self._jobs.clear()
        if not committed.jobs:
            return
        self._changes += 1
        changed = {(job.project_id, job.id) for job in committed.jobs}
        for key, job in tuple(self._jobs.items()):
            if (job.project_id, job.id) in changed:
                del self._jobs[key]


async def claim_runs(call: Call) -> Reply:
    """Take queued runs for execution, waiting for some if there are none."""
    body = await bodies.decode(call, run_bodies.CLAIM)
    project_id = await call.project(body.project_id)
    name = check_plain(body.worker, "worker") or call.credential.actor.label
    jobs = await _jobs(call, project_id, body.jobs)
    claim = Claim(
        project_id=project_id,
        job_ids=tuple(jobs),
        limit=body.limit,
        holder=f"worker:{name}",
        lease_us=WORKER_LEASE_US,
        actor=call.credential.actor,
    )
    with call.api.streams.counted(project_id):
        return await _claimed(call, claim, body.wait_secs, jobs)


async def _jobs(call: Call, project_id: str, named: Sequence[str]) -> dict[str, Job]:
    """The jobs of a claim by id. Raises NotFound; Conflict for one that the server itself dispatches."""
    if "" in named:
        raise InvalidRequest("A job of the claim is empty; name each by its slug or id.")
    jobs = {}
    for each in named:
        job = await call.api.jobs.find(project_id, each)
        if job.endpoint_url is not None:
            raise Conflict(
                f"The job {job.slug!r} has an endpoint_url, so the server calls it and workers do not fetch "
                "its runs. Take the endpoint_url away, or leave the job out."
            )
        jobs[job.id] = job
    return jobs


async def _claimed(call: Call, claim: Claim, wait_secs: int, jobs: dict[str, Job]) -> Reply:
    """Wait for runs as long as the worker is there. What was claimed and does not reach him, for whatever
    reason, is given back."""
    gone = asyncio.ensure_future(_until_gone(call))
    claiming = asyncio.ensure_future(call.service.claims.claim(claim, wait_secs))
    is_answered = False
    try:
        await asyncio.wait((gone, claiming), return_when=asyncio.FIRST_COMPLETED)
        if not claiming.done():
            raise ClientGone  # what is claimed after all is given back by whoever claims
        reply = await _reply(call, claiming.result(), jobs)
        if gone.done():
            raise ClientGone
        is_answered = True
        return reply
    finally:
        gone.cancel()
        claiming.cancel()
        if claiming.done() and not is_answered and claiming.exception() is None:
            call.service.claims.give_back(claiming.result())


async def _until_gone(call: Call) -> None:
    while (await call.receive())["type"] == "http.request":
        pass


async def _reply(call: Call, runs: Sequence[Run], jobs: dict[str, Job]) -> Reply:
    if any(map(run_replies.lacks_text, runs)):
        runs = await call.service.read(reads.RunsWithBodies(tuple(runs)))
    checkpoints = await run_replies.checkpoints(call.service, runs)
    token = call.api.settings.keyring.run_token
    return 200, encode(
        wire.ClaimResult(
            runs=[
                run_render.claimed_run(
                    run, jobs[run.job_id].slug, token(run.project_id, run.id, run.dispatch), checkpoint
                )
                for run, checkpoint in zip(runs, checkpoints, strict=True)
            ]
        )
    )
