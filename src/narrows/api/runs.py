"""`/v1/runs`: executions of jobs, for people: looked at, waited for, canceled, replayed. What a handler
asks for its own run is in `run_plane.py`, how workers get runs in `workers.py`."""

from __future__ import annotations

import asyncio
from typing import Final

from narrows.api import bodies, idempotency, replies, run_bodies, run_render, run_replies
from narrows.api.call import Call
from narrows.api.checks import choice, stated
from narrows.api.routing import Reply
from narrows.api.triggers import long_poll_secs
from narrows.core.run_records import Run
from narrows.core.states import ENDED, RunStatus
from narrows.engine.feed import FeedClosed
from narrows.operations import reads
from narrows.operations.base import Replayed
from narrows.operations.runs import CancelRun, ReplayRun
from narrows.wire import run_messages as wire

STATUSES: Final = tuple(RunStatus)


async def list_runs(call: Call) -> Reply:
    """List runs, newest first."""
    query = call.query
    limit, cursor = call.page()
    found = await call.service.read(
        reads.ListRuns(
            project_id=await call.project(),
            status=choice(stated(query, "status"), "status", STATUSES),
            job=stated(query, "job"),
            tag=stated(query, "tag"),
            limit=limit,
            cursor=cursor,
        )
    )
    return replies.page(wire.RunPage, found, await run_replies.run_messages(call.service, found.items))


async def get_run(call: Call) -> Reply:
    """Get a run by its id."""
    return await run_replies.run(call, await _read(call, await call.project()))


async def _read(call: Call, project_id: str) -> Run:
    found: Run = await call.service.read(reads.GetRun(project_id, call.param))
    return found


async def cancel_run(call: Call) -> Reply:
    """Cancel a run, and whatever it waits for."""
    canceled = await call.perform(
        CancelRun(
            actor=call.credential.actor,
            project_id=await call.project(),
            entropy=call.entropy(),
            run_id=call.param,
        )
    )
    return await run_replies.run(call, canceled)


async def list_run_events(call: Call) -> Reply:
    """List what happened to a run and what it logged, newest first."""
    limit, cursor = call.page()
    found = await call.service.read(
        reads.RunTimeline(project_id=await call.project(), run_id=call.param, limit=limit, cursor=cursor)
    )
    return replies.page(wire.RunEventPage, found, [run_render.run_event(each) for each in found.items])


async def wait_for_run(call: Call) -> Reply:
    """Wait up to 60 s for a run to end.

    The long poll watches before it reads, so that no change can slip between.
    """
    wait_secs = long_poll_secs(call)
    project_id = await call.project()
    with call.api.streams.counted(project_id), call.service.feed.watch(project_id, call.param) as watch:
        found = await _read(call, project_id)
        try:
            async with asyncio.timeout(wait_secs):
                while found.status not in ENDED:
                    changed = await watch.next()
                    found = changed if changed.version > found.version else found
        except (TimeoutError, FeedClosed):
            pass  # it goes on: the caller asks again, of the next server if this one is stopping
    await call.api.authenticator.recheck(call.credential)
    return await run_replies.run(call, found)


async def replay_run(call: Call) -> Reply:
    """Start a new run like one that ended badly, from where it stopped."""
    body = await bodies.decode(call, run_bodies.REPLAY)
    operation = ReplayRun(
        actor=call.credential.actor,
        project_id=await call.project(body.project_id),
        entropy=call.entropy(),
        run_id=call.param,
    )
    outcome = await idempotency.perform(call, operation, run_replies.keep_new_run)
    if isinstance(outcome, Replayed):
        return await run_replies.replay_new_run(call, outcome.record)
    return await run_replies.run(call, outcome, 201)
