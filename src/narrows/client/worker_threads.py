"""Threads for the handlers that are plain functions. Not the standard library's pool: that waits, at the
end of the program, for functions that do not return, and a worker that was told to stop must not.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """How a handler ended. An exception is carried as a value: some cannot be set on a future."""

    value: Any
    error: BaseException | None


class Threads:
    """At most `most` threads, started as they are needed, each kept for the next function."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._idle = 0
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Outcome]] | None] = (
            queue.SimpleQueue()
        )

    def submit(self, function: Callable[[], Any]) -> asyncio.Future[Outcome]:
        """Run it in a thread. To be called in the event loop, in which the future is then done."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self._idle > 0:
            self._idle -= 1
        elif self._count < self._most:
            self._count += 1
            name = f"narrows-worker-{self._count}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._work.put((function, future))
        return future

    def end(self) -> None:
        """Let each thread end that has nothing to do."""
        for _ in range(self._count):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            function, future = work
            try:
                outcome = Outcome(function(), None)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the function's outcome
                outcome = Outcome(None, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody asks any more
                future.get_loop().call_soon_threadsafe(self._done, future, outcome)
            del work, function, future, outcome

    def _done(self, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._idle += 1
        if not future.done():
            future.set_result(outcome)
