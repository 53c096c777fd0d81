"""The one door through which time and randomness come in.

Everything that needs the time or a random number takes a `Clock`; `SystemClock` is the real one
and `narrows.testing.ManualClock` the one of tests and of the simulation. No other module may call
`time.time`, `datetime.now`, `random` or `secrets` (the tidy test holds this).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Protocol

_POOL_BYTES = 1_024
#: Secrets are longer than this and come straight from the operating system.
_LARGEST_FROM_POOL = 8


class Clock(Protocol):
    """Times are integers: microseconds since 1970-01-01T00:00:00Z."""

    def now(self) -> int:
        """The wall clock, in microseconds since the epoch. May step back; who cares must say so."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps back, for measuring durations."""

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes from the operating system's source of randomness."""

    async def sleep_until(self, due: int, wake: asyncio.Event) -> None:
        """Return when `now()` has reached `due` or when `wake` is set, whichever is first."""


class SystemClock:
    """The real clock of this machine."""

    def __init__(self) -> None:
        self._pool = b""
        self._lock = threading.Lock()

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def random_bytes(self, count: int) -> bytes:
        if count > _LARGEST_FROM_POOL:
            return os.urandom(count)
        with self._lock:
            # Every request needs a few for its ids: one system call serves hundreds of them.
            if len(self._pool) < count:
                self._pool = os.urandom(_POOL_BYTES)
            taken, self._pool = self._pool[:count], self._pool[count:]
            return taken

    async def sleep_until(self, due: int, wake: asyncio.Event) -> None:
        delay_secs = (due - self.now()) / 1_000_000
        if delay_secs <= 0:
            # Still give the loop a turn, so that a role that is always due starves nobody.
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(delay_secs):
                await wake.wait()
        except TimeoutError:
            return
