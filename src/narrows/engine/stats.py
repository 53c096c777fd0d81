"""What the engine counts about itself, for `/metrics` and `/readyz` to read.

Plain numbers, changed in the event loop's thread only. Not here: how they are rendered.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: Upper bounds of the lateness buckets, chosen around the promise of 15 ms.
LATENESS_BOUNDS_SECS: Final = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
)  # fmt: skip


class Histogram:
    """Counts of observations by upper bound; the last bucket takes what is over every bound."""

    def __init__(self, bounds_secs: tuple[float, ...] = LATENESS_BOUNDS_SECS) -> None:
        self.bounds_secs = bounds_secs
        self.counts = [0] * (len(bounds_secs) + 1)
        self.count = 0
        self.sum_secs = 0.0

    def observe(self, secs: float) -> None:
        self.counts[bisect_left(self.bounds_secs, secs)] += 1
        self.count += 1
        self.sum_secs += secs

    def observe_all(self, many_secs: Iterable[float]) -> None:
        for secs in many_secs:
            self.observe(secs)

    def quantile_secs(self, quantile: float) -> float:
        """The upper bound of the bucket in which the quantile lies; infinity beyond the last."""
        wanted = quantile * self.count
        seen = 0
        for bound, count in zip(self.bounds_secs, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return float("inf")


@dataclass(slots=True)
class RoleStats:
    """How one role is doing. Times are microseconds since the epoch."""

    name: str
    rounds: int = 0
    errors: int = 0
    consecutive_errors: int = 0
    last_round_at: int | None = None
    last_error: str | None = None
    last_error_at: int | None = None
    due: int | None = None
