"""Runs that go out in the very commit that queues them, to somebody who waits for them: neither a wake-up nor a
second commit lies between an event and the work that follows from it.

    queued in this batch -> somebody waits for its job -> he is reserved -> dispatched -> COMMIT -> he has it

Nobody is overtaken: who waits has found that nothing is queued for him, and the writer knows what it has left queued
since (not what another node has, a moment ago). Whatever is not plain is left queued, and claimed as ever
(`dispatch.py`): of a job with `max_concurrency`, beyond `MAX_HANDED` in one commit, and all while more waits to be
written, since a claim takes many at once.
Not here: who waits (`claiming.py` for workers, the engine's `dispatch.py` for endpoints).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from narrows.clock import Clock
from narrows.core.run_records import Run
from narrows.errors import Refusal
from narrows.operations.base import check_credential
from narrows.operations.dispatch import Claim, hand_out, place_in_queue
from narrows.storage.committed import Handed, Reservation
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction

#: (project id, job id)
Key = tuple[str, str]

#: The rest of what one commit queues is handed out by the next ones.
MAX_HANDED: Final = 100
#: Of so many jobs it is known that something lies queued; beyond, it is forgotten of all.
MAX_QUEUES: Final = 100_000


class Desk(Protocol):
    """Where people wait for runs."""

    def reserve(self, key: Key, is_queued: Callable[[Key], bool]) -> Reservation | None:
        """Whoever is next to get a run of this job. None if nobody waits, or something may lie queued for him: of a job
        of which that is known, or one with a limit. In the writer's thread."""


class Handing:
    """One per service. Everything but `desks` is the writer's."""

    def __init__(self, clock: Clock) -> None:
        self.desks: list[Desk] = []
        self._clock = clock
        #: Jobs of which something was left queued since a claim last found nothing.
        self._queues: set[Key] = set()

    def run(self, tx: Transaction, handed: list[Handed]) -> Iterator[list[Touch]]:
        """Hand out what the batch has queued. Yields what must be loaded to know whether that may be."""
        if not self.desks or not (queued := tx.newly_queued()):
            return
        pairs = self._pairs(sorted(queued, key=place_in_queue)[:MAX_HANDED], handed)
        if not pairs:
            return
        yield _touches(pairs)
        entropy = int.from_bytes(self._clock.random_bytes(8), "big")
        left: set[Key] = set()
        for run, taker in pairs:
            reservation = taker.reservation
            if left.isdisjoint(_keys(reservation.claim)) and _may_have(tx, reservation, run):
                taker.runs.append(hand_out(tx, run, reservation.claim, entropy))
            else:
                left.add((run.project_id, run.job_id))  # it comes before those that follow
        for taker in [each for each in handed if not each.runs]:
            handed.remove(taker)
            taker.reservation.release()

    def committed(self, tx: Transaction) -> None:
        """Remember what is left queued, and what a claim has found empty."""
        self._queues -= tx.empty_queues
        self._queues.update((run.project_id, run.job_id) for run in tx.newly_queued())
        if len(self._queues) > MAX_QUEUES:
            self._queues.clear()

    def _pairs(self, queued: list[Run], handed: list[Handed]) -> list[tuple[Run, Handed]]:
        """Find somebody for each run, in order: whoever is reserved already, while he has room. What nobody is found
        for lies queued before all that follows."""
        pairs: list[tuple[Run, Handed]] = []
        rooms: dict[Key, list[_Room]] = defaultdict(list)
        left: set[Key] = set()

        def is_queued(key: Key) -> bool:
            return key in left or key in self._queues

        for run in queued:
            key = (run.project_id, run.job_id)
            room = next((each for each in rooms[key] if each.places > 0), None)
            if room is None:
                reservation = self._next(key, is_queued)
                if reservation is None:
                    left.add(key)
                    continue
                room = _Room(Handed(reservation, []))
                handed.append(room.taker)
                for each in _keys(reservation.claim):
                    rooms[each].append(room)
            room.places -= 1
            pairs.append((run, room.taker))
        return pairs

    def _next(self, key: Key, is_queued: Callable[[Key], bool]) -> Reservation | None:
        if not is_queued(key):
            for desk in self.desks:
                if (reservation := desk.reserve(key, is_queued)) is not None:
                    return reservation
        return None


class _Room:
    """How many runs somebody who is reserved may have yet."""

    def __init__(self, taker: Handed) -> None:
        self.taker = taker
        self.places: int = taker.reservation.claim.limit


def _keys(claim: Claim) -> list[Key]:
    return [(claim.project_id, job_id) for job_id in claim.job_ids]


def _touches(pairs: list[tuple[Run, Handed]]) -> list[Touch]:
    touches: dict[Touch, None] = {}
    for run, taker in pairs:
        if (api_key_id := taker.reservation.claim.actor.api_key_id) is not None:
            touches["api_keys_by_id", api_key_id] = None
        touches["jobs_by_id", run.project_id, run.job_id] = None
    return list(touches)


def _may_have(tx: Transaction, reservation: Reservation, run: Run) -> bool:
    """Whether he may have it, without a look at what else of the job is executing."""
    job = tx.job(run.project_id, run.job_id)
    if job is None or job.deleted_at is not None or job.max_concurrency is not None:
        return False
    if not reservation.suits(job):
        return False
    try:
        check_credential(tx, reservation.claim.actor)
    except Refusal:
        return False  # he looks by himself then, and is told
    return True
