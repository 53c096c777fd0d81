"""Virtual time: an event loop in which nothing happens by itself, and a clock that reads it.

When every coroutine waits, the loop asks the `Schedule` what happens next: one of the outside events
that are pending (a commit, the answer to a read, ...) or the next timer, to which time then jumps.
The choice comes from the seed, so the same seed gives the same interleaving.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

START_US = 1_767_225_600_000_000
#: More turns than any run needs: beyond it the run has got stuck in a circle.
MOST_TURNS = 20_000

#: How long a commit or a read may take when chance will have it.
NEAR_US = 20_000


class Stuck(Exception):
    """Everybody waits and nothing is pending, or time no longer moves."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without sockets, whose time is the schedule's."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.elapsed_us = 0
        self.turns = 0
        #: Since when it is pending, and what; the oldest first.
        self._pending: list[tuple[int, Callable[[], None]]] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.set_task_factory(self._new_task)
        self._selector = self
        self._clock_resolution = 1e-7

    # What BaseEventLoop asks of a selector and of its subclass.

    def time(self) -> float:
        return self.elapsed_us / 1_000_000

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._something_happens(timeout)
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(  # type: ignore[override] # typeshed's is generic over the arguments
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """What would run on a thread runs here, some time later."""
        future = self.create_future()

        def run() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.later(run)
        return future

    def _new_task(self, loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=self, **options)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    # What the simulation asks.

    def tasks(self) -> list[asyncio.Task[Any]]:
        """All that are not done, in the order of their making (`asyncio.all_tasks` has none)."""
        return list(self._tasks)

    def later(self, event: Callable[[], None]) -> None:
        """Let `event` happen at some point from now on, among whatever else is pending."""
        self._pending.append((self.elapsed_us, event))

    async def some_time(self) -> None:
        """Wait until chance picks the caller."""
        future = self.create_future()
        self.later(lambda: None if future.done() else future.set_result(None))
        await future

    def forget_pending(self) -> None:
        self._pending.clear()

    def _something_happens(self, timeout: float | None) -> None:
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise Stuck(f"{MOST_TURNS} turns and no end")
        if self._pending and (self._is_pending_too_long(timeout) or self.rng.random() < 0.8):
            _, event = self._pending.pop(self.rng.randrange(len(self._pending)))
            # A commit or a read takes a moment, but time never leaps over a timer.
            step_us = self.rng.randrange(20, 600)
            self.elapsed_us += step_us if timeout is None else min(step_us, round(timeout * 1_000_000))
            event()
        elif timeout is not None:
            self.elapsed_us += max(1, round(timeout * 1_000_000))
        else:
            raise Stuck("everybody waits and nothing is pending")

    def _is_pending_too_long(self, timeout: float | None) -> bool:
        """A timer that is near may come before what is pending. But several in a row do not: no commit and
        no read takes longer than NEAR_US for their sake."""
        return timeout is None or self.elapsed_us + timeout * 1_000_000 > self._pending[0][0] + NEAR_US


class VirtualClock:
    """`narrows.clock.Clock` over a virtual loop."""

    def __init__(self, loop: VirtualLoop, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng

    def now(self) -> int:
        return START_US + self._loop.elapsed_us

    def monotonic(self) -> float:
        return self._loop.time()

    def random_bytes(self, count: int) -> bytes:
        return self._rng.randbytes(count)

    async def sleep_until(self, due: int, wake: asyncio.Event) -> None:
        delay_secs = (due - self.now()) / 1_000_000
        if delay_secs <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(delay_secs):
                await wake.wait()
        except TimeoutError:
            return
