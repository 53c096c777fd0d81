"""What commits bring, counted as they come from the feed: transitions, how long waits lasted, how
many operations shared a commit and how long it took. A few additions for each commit, nothing for
each request. Not here: the text of the metrics (`metrics.py`), which reads these numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from narrows.core.states import TriggerStatus

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

#: Waits last from a moment to weeks: a millisecond, a second, a minute, an hour, a day, a month.
WAIT_BOUNDS_SECS: Final = (
    0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0,
)  # fmt: skip
COMMIT_BOUNDS_SECS: Final = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip
BATCH_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Buckets:
    """A histogram: `counts[i]` lie at or below `bounds[i]`, not cumulative; one more lies above all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class CommitStats:
    """Counted in process, since the first that asked."""

    def __init__(self) -> None:
        self.transitions: dict[str, int] = {}
        self.wait_secs = Buckets(WAIT_BOUNDS_SECS)
        self.commit_secs = Buckets(COMMIT_BOUNDS_SECS)
        self.batch_operations = Buckets(BATCH_BOUNDS)

    def add(self, committed: Committed) -> None:
        """One commit of this node; the others count theirs."""
        if committed.elsewhere is not None:
            return
        self.batch_operations.add(committed.operations)
        self.commit_secs.add(committed.commit_secs)
        transitions = self.transitions
        for fact in committed.facts:
            transitions[fact.kind] = transitions.get(fact.kind, 0) + 1
        received = TriggerStatus.RECEIVED
        for trigger in committed.triggers:
            if trigger.status is received and trigger.received_at is not None:
                self.wait_secs.add((trigger.received_at - trigger.requested_at) / 1_000_000)


_by_service: WeakKeyDictionary[Service, CommitStats] = WeakKeyDictionary()


def commits_of(service: Service) -> CommitStats:
    """The numbers of a service's commits, counted from the first time that somebody asks for them:
    the application does when it is made."""
    stats = _by_service.get(service)
    if stats is None:
        stats = _by_service[service] = CommitStats()
        service.feed.subscribe(stats.add)
    return stats
