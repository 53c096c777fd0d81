"""Streams (server-sent events): one frame at once, then one for every change of one trigger.

A stream registers before it reads, so no change slips between; what it had already is dropped by
its version. It costs its request's own task, one that waits for the client to go, and a `Stream`;
a frame is rendered once per change and shared by all who watch. One shared ticker sends the comment
lines, a fifteenth of the streams each second, and cuts readers that do not read. The long poll is
in `triggers.py`.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from narrows.api import replies
from narrows.api.auth import is_over
from narrows.api.call import Call
from narrows.api.routing import Reply
from narrows.core.records import Trigger
from narrows.core.states import SETTLED
from narrows.errors import LimitReached, NotFound
from narrows.operations import reads

if TYPE_CHECKING:
    from narrows.api.settings import ApiSettings
    from narrows.engine.feed import Committed
    from narrows.operations.service import Service

MAX_BACKLOG: Final = 64
MAX_FRAMES: Final = 64
TICK_SECS: Final = 1.0
COMMENT: Final = b": still here\n\n"
FAREWELL: Final = b": the server is stopping; connect again\n\n"
NOTHING_NEW: Final = b": nothing newer than Last-Event-ID\n\n"

_EVENT_ID = re.compile(r"([0-9A-Za-z-]{1,64})\.([0-9]{1,18})", re.ASCII)


class Stream:
    """One open stream. Whoever has something for it sets it here and wakes its request's task."""

    __slots__ = (
        "api_key_id",
        "comment_due",
        "ends_at",
        "over",
        "pending",
        "project_id",
        "slot",
        "transport",
        "trigger_id",
        "wakeup",
    )

    def __init__(self, trigger_id: str, call: Call) -> None:
        credential = call.credential
        self.trigger_id = trigger_id
        self.project_id = call.project_id
        self.api_key_id = credential.api_key_id
        self.ends_at = None if credential.api_key is None else credential.api_key.expires_at
        # Only uvicorn's own object can drop a connection whose reader does not read.
        self.transport = getattr(getattr(call.receive, "__self__", None), "transport", None)
        self.pending: list[Trigger] = []
        self.comment_due = False
        self.over: bytes | None = None  # the last words, once it must end
        self.wakeup: asyncio.Future[None] | None = None
        self.slot = 0

    def push(self, changed: Trigger) -> None:
        """A change; of a reader that is behind only the newest 64 are kept, the last one always."""
        if len(self.pending) >= MAX_BACKLOG:
            del self.pending[0]
        self.pending.append(changed)
        self.wake()

    def comment(self) -> None:
        self.comment_due = True
        self.wake()

    def end(self, last_words: bytes = b"") -> None:
        if self.over is None:
            self.over = last_words
        self.wake()

    def wake(self) -> None:
        if self.wakeup is not None and not self.wakeup.done():
            self.wakeup.set_result(None)

    async def wait(self) -> None:
        if not self.pending and not self.comment_due and self.over is None:
            self.wakeup = asyncio.get_running_loop().create_future()
            await self.wakeup
            self.wakeup = None


class Streams:
    """All open streams of this process."""

    def __init__(self, service: Service, settings: ApiSettings) -> None:
        self._service = service
        self._settings = settings
        self._by_trigger: dict[str, set[Stream]] = {}
        self._by_project: dict[str | None, int] = {}
        self._slots: list[set[Stream]] = [set() for _ in range(max(1, settings.stream_comment_secs))]
        self._slot = 0
        self._writing: dict[Stream, float] = {}
        self._frames: dict[tuple[str, int], bytes | asyncio.Task[bytes]] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._closed = False
        self.open_count = 0
        self.cut_count = 0
        service.feed.subscribe(self._publish)

    def open(self, trigger_id: str, call: Call) -> Stream:
        """Register a stream; from here on it misses no change."""
        count = self._by_project.get(call.project_id, 0)
        if count >= self._settings.max_streams_per_project:
            raise LimitReached(
                f"The project has {count} open streams, which is the limit; close some, or poll.",
                retry_after_secs=15,
            )
        stream = Stream(trigger_id, call)
        stream.slot = self._slot
        self._by_project[call.project_id] = count + 1
        self._by_trigger.setdefault(trigger_id, set()).add(stream)
        self._slots[stream.slot].add(stream)
        self.open_count += 1
        if self._closed:
            stream.end(FAREWELL)
        elif self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_SECS, self._tick)
        return stream

    def discard(self, stream: Stream) -> None:
        watchers = self._by_trigger[stream.trigger_id]
        watchers.discard(stream)
        if not watchers:
            del self._by_trigger[stream.trigger_id]
        self._slots[stream.slot].discard(stream)
        self._writing.pop(stream, None)
        self.open_count -= 1
        self._by_project[stream.project_id] -= 1
        if not self._by_project[stream.project_id]:
            del self._by_project[stream.project_id]

    def close(self) -> None:
        """Tell all streams that the server is stopping; new ones end at once."""
        self._closed = True
        for slot in self._slots:
            for stream in slot:
                stream.end(FAREWELL)
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    # ---- writing ----------------------------------------------------------------------------

    async def write(self, stream: Stream, call: Call, body: bytes, *, more: bool = True) -> None:
        """Send, while the ticker watches how long that takes."""
        self._writing[stream] = self._service.clock.monotonic()
        await call.send({"type": "http.response.body", "body": body, "more_body": more})
        self._writing.pop(stream, None)
        call.sent_bytes += len(body)

    async def frame(self, changed: Trigger) -> bytes:
        """The frame of one version, rendered once for all who watch."""
        version = (changed.id, changed.version)
        known = self._frames.get(version)
        if known is None:
            while len(self._frames) >= MAX_FRAMES:
                del self._frames[next(iter(self._frames))]
            known = self._frames[version] = asyncio.ensure_future(self._render(changed))
        if isinstance(known, bytes):
            return known
        try:
            return await asyncio.shield(known)
        except Exception:
            self._frames.pop(version, None)
            raise

    async def _render(self, changed: Trigger) -> bytes:
        data = replies.encode(await replies.trigger_message(self._service, changed))
        frame = b"event: status\nid: %s.%d\ndata: %s\n\n" % (changed.id.encode(), changed.version, data)
        if (changed.id, changed.version) in self._frames:
            self._frames[changed.id, changed.version] = frame
        return frame

    # ---- what happens to them ---------------------------------------------------------------

    def _publish(self, committed: Committed) -> None:
        if not self._by_trigger:
            return
        for changed in committed.triggers:
            for stream in self._by_trigger.get(changed.id, ()):
                stream.push(changed)
        for api_key in committed.api_keys:
            ended = is_over(api_key, self._service.clock.now())
            ends = [at for at in (api_key.expires_at, api_key.revoked_at) if at is not None]
            for stream in [each for slot in self._slots for each in slot if each.api_key_id == api_key.id]:
                stream.ends_at = min(ends, default=None)
                if ended:
                    self.cut(stream)

    def _tick(self) -> None:
        self._ticking = None
        self.tick()
        if self.open_count and not self._closed:
            self._ticking = asyncio.get_running_loop().call_later(TICK_SECS, self._tick)

    def tick(self) -> None:
        """Once a second: comment lines for one slot, and an end for whoever does not read."""
        if self._service.feed.closed:
            self.close()
        self._slot = (self._slot + 1) % len(self._slots)
        now = self._service.clock.now()
        for stream in self._slots[self._slot]:
            if stream.ends_at is not None and stream.ends_at <= now:
                stream.end()
            else:
                stream.comment()
        stalled_before = self._service.clock.monotonic() - self._settings.stream_stall_secs
        # The oldest write stands first.
        stalled = []
        for stream, since in self._writing.items():
            if since > stalled_before:
                break
            stalled.append(stream)
        for stream in stalled:
            self.cut(stream)

    def cut(self, stream: Stream) -> None:
        """End it now, also where its reader does not take what was written."""
        self.cut_count += 1
        stream.end()
        if stream in self._writing and stream.transport is not None:
            stream.transport.abort()


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
        found = await call.service.read(
            reads.GetTriggerById(project_id=call.project_id, trigger_id=trigger_id)
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
