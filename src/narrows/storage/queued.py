"""What waits to be written, and what of it goes together: bounded, in order, of any thread.
Not here: what is done with a batch (`writer.py`)."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from narrows.errors import Unavailable
from narrows.storage.lookups import Touch
from narrows.storage.operation import Operation

#: A batch takes at most so many operations, keys and bytes; one larger operation goes alone.
MAX_BATCH_OPERATIONS = 256
MAX_BATCH_TOUCHES = 1_024
MAX_BATCH_BYTES = 8 << 20
#: The keys and bytes of background operations that go together; a larger one goes alone.
MAX_BACKGROUND_TOUCHES = 128
MAX_BACKGROUND_BYTES = 1 << 20


class Ticket(NamedTuple):
    """An operation in the queue, and who waits for its outcome."""

    operation: Operation
    touches: Sequence[Touch]
    future: asyncio.Future[Any] | None


class Queued:
    """A bounded queue of operations. `wake` is called when there is something to take."""

    def __init__(
        self, *, max_queue: int, max_queue_bytes: int, max_batch: int, wake: Callable[[], None]
    ) -> None:
        self._wake = wake
        self._max_queue = max_queue
        self._max_queue_bytes = max_queue_bytes
        self._max_batch = max_batch
        self._foreground: deque[Ticket] = deque()
        self._background: deque[Ticket] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._condition = threading.Condition()

    @property
    def queue_length(self) -> int:
        return len(self._foreground) + len(self._background)

    @property
    def is_nearly_full(self) -> bool:
        """Whether nine tenths of the queue's places are taken."""
        return self.queue_length > self._max_queue * 9 // 10

    def put(self, tickets: Sequence[Ticket]) -> list[tuple[Ticket, Unavailable]]:
        """Queue operations; answers those that were refused, with why: nothing was done of these.

        Background work is not bounded here: there is little of it, each driver waits for one operation
        before it queues the next, and time-outs must not fail because senders are many.
        """
        refused = []
        with self._condition:
            for ticket in tickets:
                try:
                    self._put(ticket)
                except Unavailable as refusal:
                    refused.append((ticket, refusal))
            self._condition.notify()
        self._wake()
        return refused

    def _put(self, ticket: Ticket) -> None:
        if self._closing:
            raise Unavailable("The server is shutting down. Send again in a moment.", retry_after_secs=2)
        operation = ticket.operation
        if operation.background:
            self._background.append(ticket)
            return
        size = operation.size_bytes
        if len(self._foreground) >= self._max_queue or (
            self._queued_bytes + size > self._max_queue_bytes and self._foreground
        ):
            raise Unavailable("The server's queue is full. Send again in a moment.", retry_after_secs=1)
        self._queued_bytes += size
        self._foreground.append(ticket)

    def take(self) -> list[Ticket] | None:
        """Block until there is something to do; None when closed and empty."""
        with self._condition:
            while not self._foreground and not self._background:
                if self._closing:
                    return None
                self._condition.wait()
            return self._next_batch()

    def take_now(self) -> list[Ticket]:
        """The next batch without waiting, perhaps empty."""
        with self._condition:
            return self._next_batch()

    def _next_batch(self) -> list[Ticket]:
        """Whatever is queued, within bounds; background work comes behind."""
        batch: list[Ticket] = []
        touches = size = 0
        while self._foreground and len(batch) < self._max_batch:
            ticket = self._foreground[0]
            touches += len(ticket.touches)
            size += ticket.operation.size_bytes
            if batch and (touches > MAX_BATCH_TOUCHES or size > MAX_BATCH_BYTES):
                break
            batch.append(self._foreground.popleft())
        for ticket in batch:
            self._queued_bytes -= ticket.operation.size_bytes
        # Also behind a full batch, or senders enough would keep the time-outs from ever running. (A batch
        # of one is the benchmark's switch: there nothing shares a commit.)
        if self._background and (not batch or self._max_batch > 1):
            batch += self._background_work()
        return batch

    def _background_work(self) -> list[Ticket]:
        """One operation; or several, where all of them are small and tell what they touch."""
        work = [self._background.popleft()]
        share = _share(work[0])
        while self._background and self._max_batch > 1:
            share += _share(self._background[0])
            if share > 1:
                break
            work.append(self._background.popleft())
        return work

    def close(self) -> None:
        """Take nothing new; `take` drains what is queued and then answers None."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._wake()

    @property
    def is_closing(self) -> bool:
        return self._closing


def _share(ticket: Ticket) -> float:
    """How much of the room for background operations in a batch this one takes. One that does not tell what it
    touches takes all of it."""
    touches = len(ticket.touches) or MAX_BACKGROUND_TOUCHES
    return max(touches / MAX_BACKGROUND_TOUCHES, ticket.operation.size_bytes / MAX_BACKGROUND_BYTES)
