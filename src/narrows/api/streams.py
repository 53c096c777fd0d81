"""All open streams of this process: who watches which trigger, frames, comment lines, ends.

A stream costs its request's own task, one that waits for the client to go, and a `Stream`; a frame
is rendered once per change and shared by all who watch. One shared ticker sends the comment lines,
a fifteenth of the streams each second, and cuts readers that do not read. The endpoints are in
`stream.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from narrows.api import replies
from narrows.api.auth import is_over
from narrows.api.call import Call
from narrows.core.records import Trigger
from narrows.errors import LimitReached
from narrows.storage.news import Interests
from narrows.wire import messages

if TYPE_CHECKING:
    from narrows.api.settings import ApiSettings
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

MAX_BACKLOG: Final = 64
MAX_FRAMES: Final = 64
TICK_SECS: Final = 1.0
COMMENT: Final = b": still here\n\n"
FAREWELL: Final = b": the server is stopping; connect again\n\n"


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
        self.project_id = call.project_id or ""  # an endpoint asks for the project first
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
        self._by_project: dict[str, int] = {}
        self._slots: list[set[Stream]] = [set() for _ in range(max(1, settings.stream_comment_secs))]
        self._slot = 0
        self._writing: dict[Stream, float] = {}
        self._frames: dict[tuple[str, int], bytes | asyncio.Task[bytes]] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._closed = False
        self.open_count = 0
        self.cut_count = 0
        service.feed.subscribe(self._publish, self._interests)

    def open(self, trigger_id: str, call: Call) -> Stream:
        """Register a stream; from here on it misses no change."""
        stream = Stream(trigger_id, call)
        self._count_in(stream.project_id)
        stream.slot = self._slot
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
        self._count_out(stream.project_id)

    @contextmanager
    def counted(self, project_id: str) -> Iterator[None]:
        """A long poll, which counts towards the project's limit like a stream."""
        self._count_in(project_id)
        try:
            yield
        finally:
            self._count_out(project_id)

    def _count_in(self, project_id: str) -> None:
        count = self._by_project.get(project_id, 0)
        if count >= self._settings.max_streams_per_project:
            raise LimitReached(
                f"The project has {count} streams and long polls open, which is the limit; close some.",
                retry_after_secs=15,
            )
        self._by_project[project_id] = count + 1

    def _count_out(self, project_id: str) -> None:
        self._by_project[project_id] -= 1
        if not self._by_project[project_id]:
            del self._by_project[project_id]

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
            known = self._frames[version] = self._begin(changed)
        if isinstance(known, bytes):
            return known
        try:
            return await asyncio.shield(known)
        except Exception:
            self._frames.pop(version, None)
            raise

    def _begin(self, changed: Trigger) -> bytes | asyncio.Task[bytes]:
        """Rendered at once where nothing has to be read: thousands who wait for a task take a turn of
        the loop more."""
        message = replies.message_at_hand(changed)
        if message is None:
            return asyncio.ensure_future(self._read(changed))
        return _frame_of(changed, message)

    async def _read(self, changed: Trigger) -> bytes:
        frame = _frame_of(changed, await replies.trigger_message(self._service, changed))
        if (changed.id, changed.version) in self._frames:
            self._frames[changed.id, changed.version] = frame
        return frame

    # ---- what happens to them ---------------------------------------------------------------

    def _interests(self) -> Interests:
        """Where another node changes a trigger that is watched here, or a key that watches."""
        subjects = {
            subject: next(iter(watching)).project_id for subject, watching in self._by_trigger.items()
        }
        keys = {each.api_key_id for slot in self._slots for each in slot if each.api_key_id is not None}
        return Interests(subjects, frozenset(keys))

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


def _frame_of(changed: Trigger, message: messages.Trigger) -> bytes:
    return b"event: status\nid: %s.%d\ndata: %s\n\n" % (
        changed.id.encode(),
        changed.version,
        replies.encode(message),
    )
