"""The client's one door to time and randomness, small so that tests need no sleeps: pauses between
repeats, the jitter in them, and the bytes of Idempotency-Keys."""

from __future__ import annotations

import os
import time
from typing import Protocol


class Pace(Protocol):
    """A clock that also waits."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps back."""

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can guess."""

    def sleep(self, secs: float) -> None:
        """Let this many seconds pass, for the sync client."""

    async def sleep_async(self, secs: float) -> None:
        """Let this many seconds pass, for the async client."""


class SystemPace:
    """The real one."""

    def monotonic(self) -> float:
        return time.monotonic()

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def sleep(self, secs: float) -> None:
        time.sleep(secs)

    async def sleep_async(self, secs: float) -> None:
        import asyncio  # noqa: PLC0415 - the sync client never pays for it

        await asyncio.sleep(secs)


def wall_secs() -> int:
    """The wall clock, in seconds since 1970-01-01T00:00:00Z."""
    return int(time.time())


def jitter(pace: Pace, secs: float) -> float:
    """Between half of `secs` and the whole, so that clients cut off together do not return together."""
    share = int.from_bytes(pace.random_bytes(4), "big") / 2**32
    return secs * (0.5 + share / 2)
