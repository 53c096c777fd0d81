"""Due times in memory: a heap that forgets, bounded by whoever fills it.

A key has one due time. A key that is discarded or moved leaves a stale heap entry behind, which
is passed over when it comes up; when the stale ones outnumber the live ones the heap is built anew.
Pure data: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

#: (project id, id)
Key = tuple[str, str]

#: Stale entries tolerated before the heap is built anew.
STALE_ALLOWED: Final = 1_000


class Due(NamedTuple):
    """One due time; its order is the order of the index on due times."""

    at: int
    project_id: str
    id: str


class DueTimes:
    """The due time of each key, and which is next."""

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._at: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._at)

    def put(self, due: Due) -> None:
        key = (due.project_id, due.id)
        if self._at.get(key) != due.at:
            self._at[key] = due.at
            heappush(self._heap, due)
            self._rebuild_if_stale()

    def put_all(self, many: Iterable[Due]) -> None:
        for due in many:
            self.put(due)

    def put_back(self, many: Iterable[Due]) -> None:
        """What was taken, but for keys that have a newer due time by now."""
        self.put_all(due for due in many if (due.project_id, due.id) not in self._at)

    def stands(self, due: Due) -> bool:
        """Whether the key is due at exactly that time."""
        return self._at.get((due.project_id, due.id)) == due.at

    def discard(self, key: Key) -> None:
        if self._at.pop(key, None) is not None:
            self._rebuild_if_stale()

    def next(self) -> int | None:
        """The earliest due time, None if there is none."""
        self._drop_stale_head()
        return self._heap[0].at if self._heap else None

    def take(self, until: int, limit: int) -> list[Due]:
        """Remove and return what is due at `until`, earliest first, at most `limit`."""
        taken: list[Due] = []
        while len(taken) < limit:
            self._drop_stale_head()
            if not self._heap or self._heap[0].at > until:
                break
            due = heappop(self._heap)
            del self._at[due.project_id, due.id]
            taken.append(due)
        return taken

    def keep_first(self, limit: int) -> Due | None:
        """Forget all but the `limit` earliest. Returns the last one kept, None if nothing went."""
        if len(self._at) <= limit:
            return None
        kept = sorted({due for due in self._heap if self._is_live(due)})[:limit]
        self._heap = kept
        self._at = {(due.project_id, due.id): due.at for due in kept}
        return kept[-1]

    def _is_live(self, due: Due) -> bool:
        return self._at.get((due.project_id, due.id)) == due.at

    def _drop_stale_head(self) -> None:
        while self._heap and not self._is_live(self._heap[0]):
            heappop(self._heap)

    def _rebuild_if_stale(self) -> None:
        if len(self._heap) > 2 * len(self._at) + STALE_ALLOWED:
            # A key moved away and back again has two equal entries; the set leaves one.
            self._heap = list({due for due in self._heap if self._is_live(due)})
            heapify(self._heap)
