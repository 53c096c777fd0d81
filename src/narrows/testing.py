"""The public test kit: a clock that stands still until it is told to move.

With `ManualClock` a wait of thirty days is tested in a millisecond, and a test that uses it sleeps
nowhere. Its random bytes come from a seed, so that a run can be repeated to the letter.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final

#: 2026-01-01T00:00:00Z, in microseconds since the epoch.
START_US: Final = 1_767_225_600_000_000


@dataclass(eq=False, slots=True)
class _Sleeper:
    due: int
    waiting: asyncio.Task[bool]
    elapsed: bool = False


class ManualClock:
    """A `narrows.clock.Clock` that is moved by hand.

    >>> clock = ManualClock()
    >>> before = clock.now()
    >>> clock.advance(secs=3600)
    >>> clock.now() - before
    3600000000
    """

    def __init__(self, start_us: int = START_US, *, seed: int = 0) -> None:
        self._now = start_us
        self._elapsed_us = 0
        self._seed = seed
        self._drawn = 0
        self._sleepers: list[_Sleeper] = []

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed_us / 1_000_000

    def random_bytes(self, count: int) -> bytes:
        self._drawn += 1
        material = f"{self._seed}:{self._drawn}".encode()
        return hashlib.shake_128(material).digest(count)

    def advance(self, *, secs: float = 0, us: int = 0) -> None:
        """Move time forward and wake whoever sleeps until then; they run when the caller awaits."""
        step_us = us + round(secs * 1_000_000)
        if step_us < 0:
            raise ValueError("time goes forward; step_wall_back() sets the wall clock back")
        self._elapsed_us += step_us
        self._move(self._now + step_us)

    def advance_to(self, moment_us: int) -> None:
        self.advance(us=moment_us - self._now)

    def step_wall_back(self, *, secs: float) -> None:
        """Set the wall clock back, as an administrator or a bad time server would."""
        self._now -= round(secs * 1_000_000)

    @property
    def next_due(self) -> int | None:
        """The earliest time that somebody sleeps until."""
        return min((sleeper.due for sleeper in self._sleepers), default=None)

    async def sleep_until(self, due: int, wake: asyncio.Event) -> None:
        if due <= self._now:
            await asyncio.sleep(0)
            return
        sleeper = _Sleeper(due, asyncio.ensure_future(wake.wait()))
        self._sleepers.append(sleeper)
        try:
            await sleeper.waiting
        except asyncio.CancelledError:
            if not sleeper.elapsed:
                sleeper.waiting.cancel()
                raise
        finally:
            self._sleepers.remove(sleeper)

    def _move(self, now: int) -> None:
        self._now = now
        for sleeper in self._sleepers:
            if sleeper.due <= now and not sleeper.waiting.done():
                sleeper.elapsed = True
                sleeper.waiting.cancel()


async def settle(turns: int = 20) -> None:
    """Give every coroutine that is ready some turns of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
