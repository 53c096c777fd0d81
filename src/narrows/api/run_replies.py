"""Replies about runs that need more than the record at hand: payloads in rows of their own, what a run
waits for, how its last wait ended. Pure rendering is in `run_render.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from narrows.api import idempotency, replies, run_render
from narrows.api.replies import encode
from narrows.core.run_records import Run
from narrows.core.states import RunStatus
from narrows.errors import NotFound
from narrows.operations import reads
from narrows.operations.idempotency import Kept
from narrows.operations.reads.checkpoints import RunCheckpoints, WaitingFor
from narrows.wire import run_messages as wire

if TYPE_CHECKING:
    from narrows.api.call import Call
    from narrows.api.routing import Reply
    from narrows.core.records import IdempotencyRecord
    from narrows.operations.service import Service


def lacks_text(record: Run) -> bool:
    """Whether a payload or a result is to be read before the run can be shown."""
    return (record.payload_id is not None and record.payload is None) or (
        record.result_id is not None and record.result is None
    )


async def run_messages(service: Service, found: Sequence[Run]) -> list[wire.Run]:
    """Runs, complete: at most one look for all their texts and one for what they wait for."""
    if any(map(lacks_text, found)):
        found = await service.read(reads.RunsWithBodies(tuple(found)))
    waiting = tuple(each for each in found if each.status == RunStatus.WAITING)
    waiting_for = await service.read(WaitingFor(waiting)) if waiting else {}
    return [run_render.run(each, waiting_for.get(each.id, ())) for each in found]


async def run(call: Call, record: Run, status: int = 200) -> Reply:
    """The reply of whatever answers with one run."""
    (shown,) = await run_messages(call.service, (record,))
    return status, encode(shown)


async def checkpoints(service: Service, runs: Sequence[Run]) -> list[wire.Checkpoint]:
    """Where each of the runs was, in their order. Runs that kept nothing aside and never waited need no
    look at the store, and those are most."""
    if not any(each.wait_group_id or (each.state_id and each.state is None) for each in runs):
        return [run_render.checkpoint(each.state, (), ()) for each in runs]
    return [
        run_render.checkpoint(
            found.state, found.triggers, await replies.trigger_messages(service, found.triggers)
        )
        for found in await service.read(RunCheckpoints(tuple(runs)))
    ]


def keep_new_run(made: Run) -> Kept:
    """The reply to whoever started a run; a payload that has a row of its own is not kept twice."""
    shown = run_render.run(made if made.payload_id is None else made._replace(payload=None))
    return Kept(status=201, reply=encode(shown).decode())


async def replay_new_run(call: Call, record: IdempotencyRecord) -> Reply:
    """The same reply again, with the payload put back where it was left out."""
    kept = msgspec.json.decode(record.reply or "{}", type=dict[str, Raw])
    if "payload" not in kept:
        run_id = msgspec.json.decode(kept["id"], type=str)
        try:
            started = await call.service.read(reads.GetRun(record.project_id, run_id))
        except NotFound:
            started = None  # past retention: its reply is still known
        if started is not None and started.payload is not None:
            kept["payload"] = Raw(started.payload)
    call.extra_headers.append(idempotency.REPLAYED)
    return record.status, encode(kept)
