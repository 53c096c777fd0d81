"""Runs that go out in the very commit that queues them, to somebody who waits for them: neither a wake-up nor a
second commit lies between an event and the work that follows from it.

    queued in this batch -> somebody waits for its job -> he is reserved -> dispatched -> COMMIT -> he has it

Who waits has found that nothing else is queued for him, so that nobody is overtaken (where another node queued it a
moment ago, or this one in the commit before, he may not have heard of that yet). Whatever is not plain is left
queued, and claimed as ever (`dispatch.py`): of a job with `max_concurrency`, beyond `MAX_HANDED` in one commit.
Not here: who waits (`claiming.py` for workers, the engine's `dispatch.py` for endpoints).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from narrows.clock import Clock
from narrows.core.run_records import Run
from narrows.errors import Refusal
from narrows.operations.base import check_credential
from narrows.operations.dispatch import Claim, hand_out, place_in_queue
from narrows.storage.committed import Handed, Reservation
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction

#: The rest of what one commit queues is handed out by the next ones.
MAX_HANDED: Final = 100


class Desk(Protocol):
    """Where people wait for runs."""

    def reserve(self, project_id: str, job_id: str) -> Reservation | None:
        """Whoever is next to get a run of this job, if anybody waits who finds none queued. In the writer's thread."""


class Handing:
    """One per service."""

    def __init__(self, clock: Clock) -> None:
        self.desks: list[Desk] = []
        self._clock = clock

    def run(self, tx: Transaction, handed: list[Handed]) -> Iterator[list[Touch]]:
        """Hand out what the batch has queued. Yields what must be loaded to know whether that may be."""
        if not self.desks or not (queued := tx.newly_queued()):
            return
        self._reserve(sorted(queued, key=place_in_queue)[:MAX_HANDED], handed)
        if not handed:
            return
        yield _touches(handed)
        entropy = int.from_bytes(self._clock.random_bytes(8), "big")
        for each in tuple(handed):
            each.runs[:] = [
                hand_out(tx, run, each.reservation.claim, entropy)
                for run in each.runs
                if _may_have(tx, each.reservation.claim, run)
            ]
            if not each.runs:
                handed.remove(each)
                each.reservation.release()

    def _reserve(self, queued: list[Run], handed: list[Handed]) -> None:
        """Find somebody for each run: whoever has been reserved already, while he has room."""
        open_for: dict[tuple[str, str], Handed] = {}
        for run in queued:
            key = (run.project_id, run.job_id)
            taker = open_for.get(key)
            if taker is None or len(taker.runs) >= taker.reservation.claim.limit:
                reservation = self._next(*key)
                if reservation is None:
                    continue
                taker = Handed(reservation, [])
                handed.append(taker)
                open_for.update({(run.project_id, job_id): taker for job_id in reservation.claim.job_ids})
            taker.runs.append(run)

    def _next(self, project_id: str, job_id: str) -> Reservation | None:
        for desk in self.desks:
            if (reservation := desk.reserve(project_id, job_id)) is not None:
                return reservation
        return None


def _touches(handed: list[Handed]) -> list[Touch]:
    touches: dict[Touch, None] = {}
    for each in handed:
        if (api_key_id := each.reservation.claim.actor.api_key_id) is not None:
            touches["api_keys_by_id", api_key_id] = None
        for run in each.runs:
            touches["jobs_by_id", run.project_id, run.job_id] = None
    return list(touches)


def _may_have(tx: Transaction, claim: Claim, run: Run) -> bool:
    """Whether he may have it, without a look at what else of the job is executing."""
    job = tx.job(run.project_id, run.job_id)
    if job is None or job.deleted_at is not None or job.max_concurrency is not None:
        return False
    try:
        check_credential(tx, claim.actor)
    except Refusal:
        return False  # he looks by himself then, and is told
    return True
