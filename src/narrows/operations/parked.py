"""Who waits for something of one of several kinds, first come, first served at each. Of any thread: the event
loop's, in which people come and go, and the writer's, which finds somebody for what it has."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Who = TypeVar("Who", bound=Hashable)


class Parked(Generic[Key, Who]):
    """Queues of those who wait, each of whom stands in one or more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[Key, OrderedDict[Who, None]] = {}
        self._keys: dict[Who, tuple[Key, ...]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._keys)

    def __contains__(self, key: Key) -> bool:
        """Whether anybody waits there."""
        return key in self._queues

    def keys(self) -> tuple[Key, ...]:
        """Where somebody waits."""
        with self._lock:
            return tuple(self._queues)

    def put(self, who: Who, keys: tuple[Key, ...], *, first: bool) -> None:
        """Let him wait at all of these: behind the others, or before them."""
        with self._lock:
            self._keys[who] = keys
            for key in keys:
                queue = self._queues.setdefault(key, OrderedDict())
                queue[who] = None
                if first:
                    queue.move_to_end(who, last=False)

    def next(self, key: Key, suits: Callable[[Who], bool] = lambda who: True) -> Who | None:
        """Whoever is first there; he waits nowhere any more. None if nobody is, or he does not suit."""
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                return None
            who = next(iter(queue))
            if not suits(who):
                return None
            self._remove(who)
            return who

    def leave(self, who: Who) -> bool:
        """Let him wait no more; whether he did."""
        with self._lock:
            waits = who in self._keys
            if waits:
                self._remove(who)
            return waits

    def leave_all(self) -> list[Who]:
        """Let nobody wait any more; answers who did."""
        with self._lock:
            everybody = list(self._keys)
            self._keys.clear()
            self._queues.clear()
            return everybody

    def _remove(self, who: Who) -> None:
        for key in self._keys.pop(who):
            queue = self._queues[key]
            del queue[who]
            if not queue:
                del self._queues[key]
