"""Which jobs have queued runs, and how free places for dispatches are dealt out among them.

Places are dealt one by one: to each project in turn, within it to each job in turn. So ten runs of one
project go out among the first, whatever a hundred thousand of another are. And since a long dispatch
keeps its place, one project never gets the last of them: it may have nine times as many as are
free, so that a tenth is there for whoever comes. The same holds of the places of each host, which
may serve several projects; a job whose host is busy is passed over.
Data alone: no clock, no I/O. How many runs a job has, and may have, `ClaimRuns` finds out.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import Final, NamedTuple, TypeVar

from narrows.engine.due import Key

_Counted = TypeVar("_Counted")

#: One project may have so many times what is still free, of all places and of those of a host.
SHARE_OF_A_PROJECT: Final = 9
#: One dealing looks at so many jobs at most; the next goes on where it stopped.
LOOKS: Final = 2_000


class Places:
    """Places for dispatches, and who has them. Of any thread."""

    def __init__(self, limit: int, limit_of_a_host: int) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._limit_of_a_host = limit_of_a_host
        self._taken = 0
        self._of_project: Counter[str] = Counter()
        self._of_host: Counter[str] = Counter()
        self._of_project_at_host: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return self._taken

    @property
    def free(self) -> int:
        return self._limit - self._taken

    def project_has_room(self, project_id: str) -> bool:
        return self._of_project[project_id] < SHARE_OF_A_PROJECT * self.free

    def host_has_room(self, project_id: str, host: str) -> bool:
        free = self._limit_of_a_host - self._of_host[host]
        return self._of_project_at_host[project_id, host] < SHARE_OF_A_PROJECT * free

    def take(self, project_id: str, host: str) -> bool:
        """Take one, if the project and the host may have one more; answers whether."""
        with self._lock:
            if not (self.project_has_room(project_id) and self.host_has_room(project_id, host)):
                return False
            self._taken += 1
            self._of_project[project_id] += 1
            self._of_host[host] += 1
            self._of_project_at_host[project_id, host] += 1
            return True

    def give_back(self, project_id: str, host: str) -> None:
        with self._lock:
            self._taken -= 1
            _take_one(self._of_project, project_id)
            _take_one(self._of_host, host)
            _take_one(self._of_project_at_host, (project_id, host))


def _take_one(counter: Counter[_Counted], counted: _Counted) -> None:
    counter[counted] -= 1
    if not counter[counted]:
        del counter[counted]


class Deal(NamedTuple):
    """So many places for a job; they are taken already."""

    key: Key
    host: str
    places: int


class JobQueues:
    """The jobs that may have queued runs, in rings: who was dealt a place goes to the end."""

    def __init__(self) -> None:
        self._rings: OrderedDict[str, OrderedDict[str, str]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether there are any. Of any thread."""
        return bool(self._rings)

    def __len__(self) -> int:
        return sum(map(len, self._rings.values()))

    def __contains__(self, key: Key) -> bool:
        return key[1] in self._rings.get(key[0], ())

    def put(self, key: Key, host: str) -> None:
        project_id, job_id = key
        self._rings.setdefault(project_id, OrderedDict())[job_id] = host

    def discard(self, key: Key) -> None:
        project_id, job_id = key
        ring = self._rings.get(project_id)
        if ring is not None:
            ring.pop(job_id, None)
            if not ring:
                del self._rings[project_id]

    def deal(self, places: Places) -> list[Deal]:
        """How many places each job gets."""
        dealt: Counter[tuple[Key, str]] = Counter()
        looks, in_vain = LOOKS, 0
        while places.free > 0 and looks > 0 and in_vain < len(self._rings):
            project_id, ring = next(iter(self._rings.items()))
            self._rings.move_to_end(project_id)
            looks -= 1
            in_vain += 1
            if not places.project_has_room(project_id):
                continue
            for _ in range(min(len(ring), looks)):
                job_id, host = next(iter(ring.items()))
                ring.move_to_end(job_id)
                if places.take(project_id, host):
                    dealt[(project_id, job_id), host] += 1
                    in_vain = 0
                    break
                looks -= 1
        return [Deal(*each, count) for each, count in dealt.items()]
