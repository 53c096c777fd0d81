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
_SAMPLED_FOR_SECS = 30.0


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


class DatabaseClock:
    """The clock of a database that several nodes share, as far as it can be known here: this machine's,
    moved by as much as the database's was seen to differ. A time that the database told was true before its
    answer came, so that of several samples the one that was least on its way counts.
    """

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._offset_us: int | None = None
        self._coming_us: int | None = None
        self._since = 0.0

    @property
    def offset_us(self) -> int:
        """By how much the database's clock is ahead of this machine's."""
        return self._offset_us or 0

    def learn(self, told: int) -> None:
        """The database has just told its time, in microseconds."""
        sample = told - self._local.now()
        now = self._local.monotonic()
        if self._offset_us is None or sample > self._offset_us:
            self._offset_us = sample
        self._coming_us = sample if self._coming_us is None else max(sample, self._coming_us)
        if now - self._since >= _SAMPLED_FOR_SECS:
            # Clocks drift, and are set: what was true half a minute ago counts no more.
            self._offset_us, self._coming_us, self._since = self._coming_us, None, now

    def now(self) -> int:
        return self._local.now() + self.offset_us

    def monotonic(self) -> float:
        return self._local.monotonic()

    def random_bytes(self, count: int) -> bytes:
        return self._local.random_bytes(count)

    async def sleep_until(self, due: int, wake: asyncio.Event) -> None:
        await self._local.sleep_until(due - self.offset_us, wake)
