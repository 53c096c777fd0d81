"""The role that dispatches runs to the endpoints of their jobs, by push.

It knows which jobs may have queued runs (`push_jobs.py`), from the index at its start and then from the
commits, and claims as many runs as there are places, dealt out fairly (`queues.py`). While nothing lies queued
and places are free, the commit that queues a run hands it to this role (`operations/handing.py`). What is
claimed is carried out beside the rounds (`in_flight.py`); a round also looks after the leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from narrows.core.run_records import Job, Run
from narrows.core.runs import SERVER_LEASE_US
from narrows.engine.due import Key
from narrows.engine.endpoint import Endpoints, host_of
from narrows.engine.in_flight import WRITING_US, InFlight
from narrows.engine.loop import SAFETY_POLL_US, Role
from narrows.engine.push_jobs import PushJobs
from narrows.engine.queues import Deal, Places
from narrows.operations.base import ENGINE
from narrows.operations.dispatch import MAX_CLAIMED, Claim, ClaimRuns
from narrows.operations.reads.jobs import JobsById, QueuedJobs

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

SHARED_POLL_US: Final = 1_000_000
#: How often it is looked, at a stop, whether the last is given back.
LOOK_US: Final = 10_000
#: A host that hangs takes so many places and no more.
AT_ONCE_OF_A_HOST: Final = 50


class _Reserved(NamedTuple):
    """A place that is taken for a run of a batch that is being written."""

    role: DispatchRole
    job: Job
    deal: Deal
    claim: Claim

    def suits(self, job: Job) -> bool:
        """Not where it has been changed, and the news of that were lost: it may have another endpoint."""
        return job.version == self.job.version

    def accept(self, runs: tuple[Run, ...]) -> None:
        for run in runs:
            self.role.take_over(run, self.deal)

    def release(self) -> None:
        self.role.release(self.deal)


class DispatchRole(Role):
    """Dispatches what is queued, at most `at_once`. `holder` is this server, as the runs name it."""

    name = "dispatch"

    def __init__(
        self,
        service: Service,
        endpoints: Endpoints,
        holder: str,
        at_once: int,
        at_once_of_a_host: int = AT_ONCE_OF_A_HOST,
    ) -> None:
        self.in_flight = InFlight(service, endpoints)
        self._service = service
        self._clock = service.clock
        self._holder = holder
        self._jobs = PushJobs()
        self._places = Places(at_once, at_once_of_a_host)
        self._look_at = 0
        self._is_draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        service.handing.desks.append(self)

    def wakes(self, committed: Committed) -> int | None:
        """Note what is queued, and which dispatches are over. Cheap: it runs for every commit."""
        if committed.elsewhere is not None and committed.elsewhere.missed:
            self._look_at = 0
        times = [due for run in committed.runs if (due := self.in_flight.hear(run)) is not None]
        if self._jobs.hear(committed) and self._places.free > 0:
            times.append(self._clock.now())
        return min(times, default=None)

    def subjects(self) -> Mapping[str, str]:
        """Runs that are under way: each may be canceled at another node."""
        return self.in_flight.subjects()

    async def round(self) -> int | None:
        look_after_at = await self.in_flight.look_after()
        if self._is_draining:
            return look_after_at
        await self._look_around()
        if await self._claim():
            return self._clock.now()
        self._loop = asyncio.get_running_loop()  # from now on it is known what lies queued
        return self._look_at if look_after_at is None else min(self._look_at, look_after_at)

    async def drain(self, secs: float) -> None:
        """Dispatch nothing more; let what is under way end, then give the rest back."""
        self._is_draining = True
        await self.in_flight.drain(round(secs * 1_000_000))
        # What is being handed to this server just now comes yet, and is given back.
        until, never = self._clock.now() + WRITING_US, asyncio.Event()
        while len(self._places) and self._clock.now() < until:
            await self._clock.sleep_until(self._clock.now() + LOOK_US, never)

    async def at_stop(self) -> None:
        await self.drain(0)

    async def _look_around(self) -> None:
        """Which jobs have queued runs: all of them at first, and now and then, should news have been lost."""
        now = self._clock.now()
        if now >= self._look_at:
            self._jobs.learn_queued(await self._service.read(QueuedJobs()))
            # Between nodes no news is certain, and a claim passes over what another transaction holds.
            is_alone = self._service.members.is_alone
            self._look_at = now + (SAFETY_POLL_US if is_alone else SHARED_POLL_US)
        if unknown := self._jobs.unknown():
            self._jobs.learn(unknown, await self._service.read(JobsById(unknown)))

    async def _claim(self) -> bool:
        """Claim runs for the places that are free. Whether there was anything to claim."""
        deals = self._jobs.queues.deal(self._places)
        if not deals:
            return False
        self._jobs.begin_claim()
        operation = ClaimRuns(claims=tuple(map(self._claim_of, deals)), entropy=self._service.entropy())
        try:
            outcomes = await self._service.perform(operation)
        except BaseException:
            for deal in deals:
                self._return(deal, deal.places)
            raise
        for deal, outcome in zip(deals, outcomes, strict=True):
            runs: tuple[Run, ...] = outcome if isinstance(outcome, tuple) else ()
            self._return(deal, deal.places - len(runs))
            if len(runs) < min(deal.places, MAX_CLAIMED):
                self._jobs.found_empty(deal.key)
            for run in runs:
                self._start(run, deal)
        return True

    def _claim_of(self, deal: Deal) -> Claim:
        project_id, job_id = deal.key
        return Claim(project_id, (job_id,), deal.places, self._holder, SERVER_LEASE_US, ENGINE)

    def _start(self, run: Run, deal: Deal, *, gives_back: bool = False) -> None:
        job = None if gives_back else self._jobs.job(deal.key)
        self.in_flight.start(run, job, lambda: self._ended(deal))

    def _ended(self, deal: Deal) -> None:
        """A place is free again."""
        self._return(deal, 1)
        if self._jobs.may_have_work:
            self.nudge(self._clock.now())

    # ---- handed out by the commit that queued it ------------------------------------------------

    def reserve(self, key: Key, is_queued: Callable[[Key], bool]) -> _Reserved | None:
        """A free place for a run of this job that is being queued, if nothing else waits for one. In the writer's
        thread."""
        job = self._jobs.job(key)
        if self._loop is None or self._is_draining or job is None or self._jobs.may_have_work:
            return None
        if job.max_concurrency is not None or not self._places.take(key[0], host_of(job)):
            return None
        deal = Deal(key, host_of(job), 1)
        return _Reserved(self, job, deal, self._claim_of(deal))

    def take_over(self, run: Run, deal: Deal) -> None:
        """Carry out what was handed to this server; give it back where the server is about to stop."""
        self._start(run, deal, gives_back=self._is_draining)
        self.nudge(self._clock.now())  # its lease has to be looked after

    def release(self, deal: Deal) -> None:
        """Nothing came of it. In any thread."""
        assert self._loop is not None, "it was reserved after that was known"
        self._loop.call_soon_threadsafe(self._ended, deal)

    # ---- places -----------------------------------------------------------------------------------

    def _return(self, deal: Deal, places: int) -> None:
        for _ in range(places):
            self._places.give_back(deal.key[0], deal.host)
