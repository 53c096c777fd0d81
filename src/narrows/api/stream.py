"""The endpoints of streams (server-sent events): one frame at once, then one for every change of one
trigger, until it is settled. What all streams share is in `streams.py`; the long poll in `triggers.py`.

A stream registers before it reads, so no change slips between; what it had already is dropped by
its version.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from narrows.api.call import Call
from narrows.api.routing import Reply
from narrows.api.streams import COMMENT, Stream, Streams
from narrows.core.records import Trigger
from narrows.core.states import SETTLED
from narrows.errors import NotFound
from narrows.operations import reads

NOTHING_NEW: Final = b": nothing newer than Last-Event-ID\n\n"

_EVENT_ID = re.compile(r"([0-9A-Za-z-]{1,64})\.([0-9]{1,18})", re.ASCII)


async def stream_by_key(call: Call) -> Reply | None:
    """Stream the changes of a key's trigger.

    That is the one found first, also for whoever comes back with Last-Event-ID.
    """
    project_id = await call.project()
    return await _serve(call, await _find_by_key(call, project_id))


async def stream_by_id(call: Call) -> Reply | None:
    """Stream the changes of exactly this trigger."""
    await call.project()
    bound_to = call.credential.trigger_id
    if bound_to is not None and bound_to != call.param:
        raise NotFound("This stream token is for another trigger.")
    return await _serve(call, call.param)


async def _find_by_key(call: Call, project_id: str) -> str:
    trigger_id = call.credential.trigger_id or _last_event(call)[0]
    if trigger_id is not None:
        try:
            found = await call.service.read(
                reads.GetTriggerById(project_id=project_id, trigger_id=trigger_id)
            )
        except NotFound:
            found = None
        if found is not None and found.event_key == call.param:
            return trigger_id
        if call.credential.trigger_id is not None:
            raise NotFound("This stream token is for another trigger.")
    found = await call.service.read(reads.GetTrigger(project_id=project_id, event_key=call.param))
    return str(found.id)


def _last_event(call: Call) -> tuple[str | None, int]:
    """Trigger and version of the last frame that the client had."""
    match = _EVENT_ID.fullmatch(call.header(b"last-event-id") or "")
    return (None, 0) if match is None else (match[1], int(match[2]))


async def _serve(call: Call, trigger_id: str) -> Reply | None:
    streams = call.api.streams
    stream = streams.open(trigger_id, call)
    try:
        # From here on a revocation cuts the stream; one that came just before is seen here.
        await call.api.authenticator.recheck(call.credential)
        found = await call.service.read(
            reads.GetTriggerById(project_id=stream.project_id, trigger_id=trigger_id)
        )
        last_id, seen = _last_event(call)
        if last_id != trigger_id or seen > found.version:
            seen = 0
        if found.status in SETTLED and seen == found.version:
            return 204, b""  # the one way to keep an EventSource from coming back for ever
        await _start(call)
        gone = asyncio.ensure_future(_until_gone(call, stream))
        try:
            await _follow(call, streams, stream, found, seen)
        finally:
            gone.cancel()
        return None
    finally:
        streams.discard(stream)


async def _start(call: Call) -> None:
    call.status = 200
    headers = [
        *call.reply_headers(),
        (b"content-type", b"text/event-stream"),
        (b"x-accel-buffering", b"no"),
    ]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})


async def _until_gone(call: Call, stream: Stream) -> None:
    while (await call.receive())["type"] == "http.request":
        pass
    stream.end()


async def _follow(call: Call, streams: Streams, stream: Stream, found: Trigger, seen: int) -> None:
    """Write what is newer than `seen` until the trigger is settled or the stream must end."""
    if found.version > seen:
        settled = found.status in SETTLED
        await streams.write(stream, call, await streams.frame(found), more=not settled)
    else:
        settled = False
        await streams.write(stream, call, NOTHING_NEW)
    version = found.version
    while not settled:
        await stream.wait()
        changes, stream.pending = stream.pending, []
        for changed in changes:
            if changed.version > version and not settled:
                version, settled = changed.version, changed.status in SETTLED
                await streams.write(stream, call, await streams.frame(changed), more=not settled)
        if stream.over is not None and not settled:
            await streams.write(stream, call, stream.over, more=False)
            return
        if stream.comment_due and not settled:
            stream.comment_due = False
            await streams.write(stream, call, COMMENT)
    # Thousands may end by one change: first all write, then all clean up.
    await asyncio.sleep(0)
