"""Committed facts -> subscribers, within this process. A hint, never the truth: who must not miss a
change subscribes first, then reads, then drops what is not newer than what was read."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from narrows.core.records import Trigger
from narrows.core.run_records import Run
from narrows.storage.committed import Committed
from narrows.storage.news import Interests

log = logging.getLogger("narrows.feed")

#: A watcher that does not keep up loses the oldest of its unread changes; the newest never.
MAX_BACKLOG = 64


class FeedClosed(Exception):
    """The server is shutting down: there will be no further change to see here."""


class Watch:
    """The changes of one trigger or run, from the moment it was made. A context manager."""

    __slots__ = ("_changes", "_feed", "_waiter", "project_id", "subject_id")

    def __init__(self, feed: Feed, project_id: str, subject_id: str) -> None:
        self.project_id = project_id
        self.subject_id = subject_id
        self._feed = feed
        self._changes: deque[Trigger | Run] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Watch:
        self._feed.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.remove(self)

    async def next(self) -> Any:
        """The record after its next change. Raises FeedClosed when the server shuts down."""
        while not self._changes:
            if self._feed.closed:
                raise FeedClosed
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._changes.popleft()

    def push(self, changed: Trigger | Run) -> None:
        if self._changes is None:
            # Made when it is needed: thousands of watchers never see a change.
            self._changes = deque(maxlen=MAX_BACKLOG)
        self._changes.append(changed)
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Feed:
    """One per process; everything happens in the event loop's thread."""

    def __init__(self) -> None:
        self.closed = False
        self._subscribers: list[Callable[[Committed], None]] = []
        self._interests: list[Callable[[], Interests]] = []
        self._watches: dict[str, set[Watch]] = {}

    def publish(self, committed: Committed) -> None:
        """Tell everybody. A subscriber that fails is logged and keeps nobody else from hearing."""
        if self._watches:
            changes: tuple[Trigger | Run, ...] = (*committed.triggers, *committed.runs)
            for changed in changes:
                for watch in self._watches.get(changed.id, ()):
                    watch.push(changed)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(committed)
            except Exception:
                log.exception("a subscriber of the feed failed")

    def subscribe(
        self, callback: Callable[[Committed], None], interests: Callable[[], Interests] | None = None
    ) -> Callable[[], None]:
        """Call `callback` with every commit; answers how to stop that. `interests` says of which records it
        wants to hear where another node has changed them."""
        self._subscribers.append(callback)
        if interests is not None:
            self._interests.append(interests)

        def unsubscribe() -> None:
            self._subscribers.remove(callback)
            if interests is not None:
                self._interests.remove(interests)

        return unsubscribe

    def interests(self) -> Interests:
        """What anybody here wants to hear of."""
        subjects = {subject: next(iter(watches)).project_id for subject, watches in self._watches.items()}
        api_keys: set[str] = set()
        for each in self._interests:
            found = each()
            subjects.update(found.subjects)
            api_keys |= found.api_keys
        return Interests(subjects, frozenset(api_keys))

    def watch(self, project_id: str, subject_id: str) -> Watch:
        return Watch(self, project_id, subject_id)

    def add(self, watch: Watch) -> None:
        self._watches.setdefault(watch.subject_id, set()).add(watch)

    def remove(self, watch: Watch) -> None:
        watches = self._watches.get(watch.subject_id)
        if watches is not None:
            watches.discard(watch)
            if not watches:
                del self._watches[watch.subject_id]

    @property
    def watch_count(self) -> int:
        return sum(map(len, self._watches.values()))

    def close(self) -> None:
        self.closed = True
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()
