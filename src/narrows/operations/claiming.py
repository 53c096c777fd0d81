"""Workers that wait for runs: the long poll of a claim, and who is woken by what is queued.

A claimer first looks: all that are ready share one `ClaimRuns`, of which one at most is under way.
Who finds nothing parks, first come, first served, at each of his jobs. A commit that queued n runs
of a job wakes at most n of those parked there, and so does one that freed n places of a job with
`max_concurrency`. Who was woken for a job and did not take of it (he was filled elsewhere, or has
gone) wakes the next one, so that no run lies queued beside a claimer who would take it.

Whoever is parked, and waits for jobs without `max_concurrency` alone, may be spared the waking: the commit that
queues a run hands it to him (`handing.py`).

Whom a run was claimed for and who is no longer there gives it back: nothing is lost but the time.
Not here: which runs there are and who may have them (`dispatch.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from narrows.core.run_records import Job, Run
from narrows.core.states import RunStatus
from narrows.errors import NarrowsError, NotFound
from narrows.operations.dispatch import Claim, ClaimRuns
from narrows.operations.parked import Parked
from narrows.operations.reads.jobs import GetJob, JobsWithQueuedRuns
from narrows.operations.run_plane import ReleaseRun

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

log = logging.getLogger("narrows.claims")

#: (project id, job id)
Key = tuple[str, str]

CLAIMS_AN_OPERATION: Final = 64
RUNS_AN_OPERATION: Final = 500
#: Of so many jobs it is remembered whether they have a `max_concurrency`.
JOBS_REMEMBERED: Final = 10_000
#: How often those who are parked are looked after where several nodes serve, and of how many jobs.
POLL_US: Final = 250_000
KEYS_A_POLL: Final = 1_000
#: More than are ever parked.
EVERYBODY: Final = 1 << 30


class _Place(Enum):
    READY = auto()
    LOOKING = auto()
    PARKED = auto()
    RESERVED = auto()
    DONE = auto()


class _Claimer:
    """One call of `claim`, and where it stands."""

    __slots__ = (
        "claim",
        "done",
        "error",
        "has_gone",
        "keys",
        "place",
        "returns",
        "runs",
        "until",
        "woken_for",
    )

    def __init__(self, claim: Claim, until: int) -> None:
        self.claim = claim
        self.until = until
        self.keys: tuple[Key, ...] = tuple(
            dict.fromkeys((claim.project_id, job_id) for job_id in claim.job_ids)
        )
        self.place = _Place.READY
        self.woken_for: set[Key] = set()
        self.returns = False  # he parked before, and has his place at the head of the queue
        self.has_gone = False
        self.done = asyncio.Event()
        self.runs: tuple[Run, ...] = ()
        self.error: Exception | None = None

    def finish(self, runs: tuple[Run, ...] = (), error: Exception | None = None) -> None:
        self.place, self.runs, self.error = _Place.DONE, runs, error
        self.done.set()


class _Reserved(NamedTuple):
    """A claimer who may get something of a batch that is being written."""

    claims: Claims
    claimer: _Claimer
    claim: Claim

    def suits(self, job: Job) -> bool:
        return True

    def accept(self, runs: tuple[Run, ...]) -> None:
        self.claims.accept(self.claimer, runs)

    def release(self) -> None:
        self.claims.release(self.claimer)


class Claims:
    """One per service. Everything happens in the event loop's thread, but where something else is said."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ready: deque[_Claimer] = deque()
        self._parked: Parked[Key, _Claimer] = Parked()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: Counter[Key] | None = None  # what was queued while a look is under way
        self._is_limited: dict[Key, bool] = {}
        self._look: asyncio.Task[None] | None = None
        self._poll: asyncio.Task[None] | None = None
        self._releases: set[asyncio.Task[None]] = set()
        self._closed = False
        service.handing.desks.append(self)
        service.feed.subscribe(self._on_commit)

    @property
    def waiting(self) -> int:
        """How many claimers are parked."""
        return len(self._parked)

    async def claim(self, claim: Claim, wait_secs: float) -> tuple[Run, ...]:
        """Runs for this claimer, as soon as there are some; none after `wait_secs`, or when the server
        stops. Raises what `ClaimRuns` refuses with."""
        self._loop = asyncio.get_running_loop()
        claimer = _Claimer(claim, self._service.clock.now() + round(wait_secs * 1_000_000))
        if wait_secs > 0:
            await self._learn(claimer.keys)
        self._ready.append(claimer)
        self._look_on()
        try:
            return await self._outcome(claimer)
        except asyncio.CancelledError:
            self._leave(claimer)
            raise

    def close(self) -> None:
        """The server stops: who waits is told that there is nothing, and nobody parks any more."""
        self._closed = True
        if self._poll is not None:
            self._poll.cancel()
        for claimer in self._parked.leave_all():
            claimer.finish()

    async def _outcome(self, claimer: _Claimer) -> tuple[Run, ...]:
        await self._service.clock.sleep_until(claimer.until, claimer.done)
        if self._parked.leave(claimer):
            claimer.finish()
        # A look that is under way ends soon, or a commit that he is reserved for: it may have something for him.
        await claimer.done.wait()
        if claimer.error is not None:
            raise claimer.error
        return claimer.runs

    async def _learn(self, keys: Iterable[Key]) -> None:
        """Which of these jobs are limited: there a run that ends makes room for one that is queued."""
        for key in keys:
            if key not in self._is_limited:
                try:
                    job = await self._service.read(GetJob(*key))
                except NotFound:
                    continue  # it is refused for that in a moment
                self._remember(key, job.max_concurrency is not None, is_news=False)

    def _remember(self, key: Key, is_limited: bool, *, is_news: bool) -> None:
        if len(self._is_limited) >= JOBS_REMEMBERED:
            self._is_limited = {
                key: limited for key, limited in self._is_limited.items() if key in self._parked
            }
        if is_news or key not in self._is_limited:
            self._is_limited[key] = is_limited

    # ---- looking -----------------------------------------------------------------------------

    def _look_on(self) -> None:
        if self._ready and self._look is None:
            self._look = asyncio.create_task(self._look_for_all(), name="claims")

    async def _look_for_all(self) -> None:
        """Look for whoever is ready, as many at once as one operation may hold, until nobody is."""
        while self._ready:
            looking = self._take_ready()
            self._heard = Counter()
            operation = ClaimRuns(
                claims=tuple(claimer.claim for claimer in looking), entropy=self._service.entropy()
            )
            outcomes: Sequence[Any]
            try:
                outcomes = await self._service.perform(operation)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the claimers' affair
                outcomes = [error] * len(looking)
            heard, self._heard = self._heard, None
            self._give(looking, outcomes)
            for key, queued in heard.items():
                self._wake(key, queued)
        self._look = None

    def _take_ready(self) -> list[_Claimer]:
        taken = [self._ready.popleft()]
        runs = taken[0].claim.limit
        while self._ready and len(taken) < CLAIMS_AN_OPERATION:
            runs += self._ready[0].claim.limit
            if runs > RUNS_AN_OPERATION:
                break
            taken.append(self._ready.popleft())
        for claimer in taken:
            claimer.place = _Place.LOOKING
        return taken

    def _give(self, looked: Sequence[_Claimer], outcomes: Sequence[Any]) -> None:
        in_vain: list[_Claimer] = []
        for claimer, outcome in zip(looked, outcomes, strict=True):
            if isinstance(outcome, Exception):
                claimer.finish(error=outcome)
                self._pass_on(claimer, claimer.woken_for)
            elif outcome:
                self._hand_over(claimer, outcome)
            elif claimer.has_gone or self._closed or claimer.until <= self._service.clock.now():
                claimer.finish()
            else:
                in_vain.append(claimer)
        # Those who come back go to the head of the queue, from the last of them to the first.
        in_order = sorted(in_vain, key=lambda claimer: claimer.returns)
        newcomers = sum(not claimer.returns for claimer in in_vain)
        for claimer in (*in_order[:newcomers], *reversed(in_order[newcomers:])):
            self._park(claimer)

    def _hand_over(self, claimer: _Claimer, runs: tuple[Run, ...]) -> None:
        claimer.finish(runs)
        if claimer.has_gone:
            self.give_back(runs)
        # Who was not filled has seen that nothing is left of any of his jobs.
        if claimer.has_gone or len(runs) >= claimer.claim.limit:
            self._pass_on(claimer, claimer.woken_for - {(run.project_id, run.job_id) for run in runs})

    # ---- parking and waking ------------------------------------------------------------------

    def _park(self, claimer: _Claimer) -> None:
        claimer.place = _Place.PARKED
        claimer.woken_for.clear()
        is_back, claimer.returns = claimer.returns, True
        self._parked.put(claimer, claimer.keys, first=is_back)

        if self._poll is None and not self._closed and not self._service.members.is_alone:
            self._poll = asyncio.create_task(self._poll_while_parked(), name="claims-poll")

    async def _poll_while_parked(self) -> None:
        """Between nodes no news is certain, and who passed over a run that another transaction held has found
        nothing: so now and then somebody is woken where runs lie queued."""
        clock, never = self._service.clock, asyncio.Event()
        while len(self._parked):
            await clock.sleep_until(clock.now() + POLL_US, never)
            keys = self._parked.keys()[:KEYS_A_POLL]
            try:
                for key in await self._service.read(JobsWithQueuedRuns(keys)):
                    self._wake(key, 1)
            except NarrowsError as error:
                log.info("queued runs could not be looked for: %s", error.message)
        self._poll = None

    def _wake(self, key: Key, most: int) -> int:
        """Let at most so many of those parked at a job look again; answers how many there were."""
        woken = 0
        while woken < most and (claimer := self._parked.next(key)) is not None:
            claimer.place = _Place.READY
            claimer.woken_for.add(key)
            self._ready.append(claimer)
            woken += 1
        self._look_on()
        return woken

    def _pass_on(self, claimer: _Claimer, keys: Iterable[Key]) -> None:
        for key in tuple(keys):
            self._wake(key, 1)
        claimer.woken_for.clear()

    def _on_commit(self, committed: Committed) -> None:
        elsewhere = committed.elsewhere
        if not committed.runs and not committed.jobs and elsewhere is None:
            return
        for job in committed.jobs:
            self._remember((job.project_id, job.id), job.max_concurrency is not None, is_news=True)
        if not len(self._parked) and self._heard is None:
            return  # who comes now looks by himself
        chances = self._chances(committed)
        if elsewhere is not None:
            chances.update(elsewhere.queued)
            if elsewhere.missed:
                chances.update(dict.fromkeys(self._parked.keys(), EVERYBODY))
        for key, count in chances.items():
            left = count - self._wake(key, count)
            if left and self._heard is not None:
                # Who is looking may have looked before this commit.
                self._heard[key] += left

    def _chances(self, committed: Committed) -> Counter[Key]:
        """How many claimers of each job may find something now that they did not find before."""
        chances: Counter[Key] = Counter()
        for run in committed.runs:
            key = (run.project_id, run.job_id)
            if run.status == RunStatus.QUEUED or (
                run.status != RunStatus.EXECUTING and self._is_limited.get(key)
            ):
                chances[key] += 1
        for job in committed.jobs:
            chances[job.project_id, job.id] = EVERYBODY
        return chances

    # ---- handed out by the commit that queued it ------------------------------------------------

    def reserve(self, key: Key, is_queued: Callable[[Key], bool]) -> _Reserved | None:
        """The first who is parked for a run of this job, if nothing may lie queued for him. In the writer's thread."""

        def may_be_spared_a_look(claimer: _Claimer) -> bool:
            return all(self._is_limited.get(each) is False and not is_queued(each) for each in claimer.keys)

        claimer = self._parked.next(key, may_be_spared_a_look)
        if claimer is None:
            return None
        claimer.place = _Place.RESERVED
        return _Reserved(self, claimer, claimer.claim)

    def accept(self, claimer: _Claimer, runs: tuple[Run, ...]) -> None:
        """What was handed to him is committed."""
        claimer.finish(runs)
        if claimer.has_gone:
            self.give_back(runs)

    def release(self, claimer: _Claimer) -> None:
        """Nothing was handed to him: he looks by himself. In any thread."""
        assert self._loop is not None, "he came in it"
        self._loop.call_soon_threadsafe(self._look_again, claimer)

    def _look_again(self, claimer: _Claimer) -> None:
        if claimer.has_gone or self._closed or claimer.until <= self._service.clock.now():
            claimer.finish()
            return
        claimer.place = _Place.READY
        self._ready.append(claimer)
        self._look_on()

    # ---- those who go ------------------------------------------------------------------------

    def _leave(self, claimer: _Claimer) -> None:
        """The caller is gone: forget him, or give back what was claimed for him."""
        claimer.has_gone = True
        if self._parked.leave(claimer):
            return
        if claimer.place is _Place.READY:
            self._ready.remove(claimer)
            self._pass_on(claimer, claimer.woken_for)
        elif claimer.place is _Place.DONE and claimer.runs:
            self.give_back(claimer.runs)

    def give_back(self, runs: Sequence[Run]) -> None:
        """Release runs that were claimed for somebody who is no longer there."""
        task = asyncio.create_task(self._release(runs), name="claims-give-back")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _release(self, runs: Sequence[Run]) -> None:
        for run in runs:
            operation = ReleaseRun(
                project_id=run.project_id,
                run_id=run.id,
                dispatch=run.dispatch,
                body_hash="",
                entropy=self._service.entropy(),
            )
            try:
                await self._service.perform(operation)
            except NarrowsError as error:
                # Its lease ends soon; then it is queued again too.
                log.warning("run %s was claimed for nobody and could not be given back: %s", run.id, error)
