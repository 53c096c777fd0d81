"""The dispatches that are under way: each calls its endpoint in a task of its own, and its outcome is one
more commit. One operation renews the leases of all of them.

Whatever ends a dispatch otherwise ends its request too: at once where the run was canceled or taken
away, and with some patience where its handler itself said by the run plane how it goes on, since then
it is about to answer. Not here: what is dispatched, and when (`dispatch.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from narrows.core.run_records import Job, Run
from narrows.core.runs import SERVER_LEASE_US
from narrows.core.states import RunStatus
from narrows.engine.due import Key
from narrows.engine.endpoint import Endpoints
from narrows.errors import NarrowsError, OutcomeUnknown, Unavailable
from narrows.operations.dispatch import DispatchResult, FinishDispatch, RenewLeases
from narrows.operations.reads.luggage import Luggage, LuggageOf
from narrows.operations.run_plane import ReleaseRun

if TYPE_CHECKING:
    from narrows.operations.service import Service

log = logging.getLogger("narrows.engine")

RENEW_US: Final = 5_000_000
#: A handler that has ended its dispatch by the run plane gets so long to answer the request.
PATIENCE_US: Final = 10_000_000
FIRST_PAUSE_US: Final = 100_000
LONGEST_PAUSE_US: Final = 2_000_000
#: How long outcomes that are being written down may take when the server stops.
WRITING_US: Final = 2_000_000

#: What may become of a dispatch, as it is counted.
COMPLETED, RETRIED, FAILED, OVERTAKEN, RETURNED = "completed", "retried", "failed", "overtaken", "returned"
OUTCOMES: Final = (COMPLETED, RETRIED, FAILED, OVERTAKEN, RETURNED)


class Dispatch:
    """One dispatch of a run. `job` is None where the job has lost its endpoint meanwhile; `over` is set
    when the run is no longer this dispatch's."""

    __slots__ = ("ended", "fate", "has_answer", "job", "over", "over_at", "run", "task")

    def __init__(self, run: Run, job: Job | None, ended: Callable[[], None]) -> None:
        self.run = run
        self.job = job
        self.ended = ended
        self.fate = OVERTAKEN  # as which it counts if it is aborted
        self.has_answer = False
        self.over = asyncio.Event()
        self.over_at = 0
        self.task: asyncio.Task[None] | None = None

    @property
    def key(self) -> Key:
        return self.run.project_id, self.run.id

    def is_of(self, run: Run) -> bool:
        return run.dispatch == self.run.dispatch and run.status == RunStatus.EXECUTING

    def abort(self) -> None:
        """Break the request off; what was answered already is still written down."""
        self.over.set()
        if self.task is not None and not self.has_answer:
            self.task.cancel()


class InFlight:
    """All dispatches of this server. Everything happens in the event loop's thread."""

    def __init__(self, service: Service, endpoints: Endpoints) -> None:
        self.results: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._service = service
        self._clock = service.clock
        self._endpoints = endpoints
        self._all: set[Dispatch] = set()
        self._newest: dict[Key, Dispatch] = {}
        self._idle = asyncio.Event()
        self._renew_at = 0

    def __len__(self) -> int:
        return len(self._all)

    def start(self, run: Run, job: Job | None, ended: Callable[[], None]) -> None:
        """Carry a claimed run out; `ended` is called when its place is free again."""
        if not self._all:
            self._renew_at = self._clock.now() + RENEW_US
        dispatch = Dispatch(run, job, ended)
        if (older := self._newest.get(dispatch.key)) is not None:
            self._let_go(older)
        self._newest[dispatch.key] = dispatch
        self._all.add(dispatch)
        dispatch.task = asyncio.create_task(self._carry_out(dispatch), name=f"dispatch-{run.id}")
        dispatch.task.add_done_callback(lambda task: self._has_ended(dispatch, task))

    def subjects(self) -> dict[str, str]:
        """Whose changes by another node are to be heard here: run ids, with their project."""
        return {run_id: project_id for project_id, run_id in self._newest}

    def hear(self, run: Run) -> int | None:
        """Take in a committed run; answers when to look whether its request has ended."""
        dispatch = self._newest.get((run.project_id, run.id))
        if dispatch is None or dispatch.is_of(run) or dispatch.over.is_set():
            return None
        if run.version < dispatch.run.version:
            return None  # read before this dispatch began, after a hint of another node
        if run.status == RunStatus.CANCELED:
            dispatch.abort()
            return None
        self._let_go(dispatch)
        return None if dispatch.has_answer else dispatch.over_at + PATIENCE_US

    async def look_after(self) -> int | None:
        """Renew the leases when that is due, end requests that outlive their dispatch for too long;
        answers when to do so again."""
        if not self._all:
            return None
        if self._clock.now() >= self._renew_at:
            await self._renew()
        now = self._clock.now()
        lingering = [each for each in self._all if each.over.is_set() and not each.has_answer]
        for dispatch in lingering:
            if now >= dispatch.over_at + PATIENCE_US:
                dispatch.abort()
        ends = (dispatch.over_at + PATIENCE_US for dispatch in lingering)
        return min([self._renew_at, *(end for end in ends if end > now)])

    async def drain(self, within_us: int) -> None:
        """Let what is under way end within that time, then give the rest back."""
        await self._until_idle(within_us)
        late = [dispatch for dispatch in self._all if not dispatch.has_answer]
        returned = [dispatch for dispatch in late if not dispatch.over.is_set()]
        for dispatch in returned:
            dispatch.fate = RETURNED
        for dispatch in late:
            dispatch.abort()
        await asyncio.gather(*(self._give_back(dispatch.run) for dispatch in returned))
        await self._until_idle(WRITING_US)

    async def _until_idle(self, within_us: int) -> None:
        until = self._clock.now() + within_us
        self._idle.clear()
        while self._all and self._clock.now() < until:
            await self._clock.sleep_until(until, self._idle)

    async def _renew(self) -> None:
        began = self._clock.now()  # the leases may be counted from here, not from when the answer is there
        # In one order, so that a seed of the simulation is one history.
        held = sorted((each for each in self._all if not each.over.is_set()), key=lambda each: each.key)
        leases = tuple((*dispatch.key, dispatch.run.dispatch) for dispatch in held)
        if leases:
            operation = RenewLeases(leases=leases, lease_us=SERVER_LEASE_US, entropy=self._service.entropy())
            for dispatch, is_held in zip(held, await self._service.perform(operation), strict=True):
                if not is_held and not dispatch.over.is_set():
                    dispatch.abort()
        self._renew_at = began + RENEW_US

    def _let_go(self, dispatch: Dispatch) -> None:
        if not dispatch.over.is_set():
            dispatch.over.set()
            dispatch.over_at = self._clock.now()

    def _has_ended(self, dispatch: Dispatch, task: asyncio.Task[None]) -> None:
        self._all.discard(dispatch)
        if self._newest.get(dispatch.key) is dispatch:
            del self._newest[dispatch.key]
        if not self._all:
            self._idle.set()
        if task.cancelled():
            self.results[dispatch.fate] += 1
        elif (error := task.exception()) is not None:
            log.error("what came of a dispatch of run %s is not written down: %s", dispatch.run.id, error)
        dispatch.ended()

    # ---- one dispatch ------------------------------------------------------------------------

    async def _carry_out(self, dispatch: Dispatch) -> None:
        if dispatch.job is None:
            # It is for workers now: there is no one to call.
            self.results[RETURNED] += 1
            await self._give_back(dispatch.run)
            return
        result = await self._call(dispatch.run, dispatch.job)
        dispatch.has_answer = True
        await self._write_down(dispatch, result)

    async def _call(self, run: Run, job: Job) -> DispatchResult:
        try:
            luggage = Luggage(run.payload, None)
            if run.payload_id is not None or run.wait_group_id is not None:
                luggage = await self._service.read(LuggageOf(run))
            return await self._endpoints.call(run, job, luggage)
        except Exception as error:  # a fault of ours ends this attempt and nothing else
            log.exception("run %s could not be dispatched", run.id)
            return DispatchResult(
                False, error=f"the server failed to call the endpoint: {type(error).__name__}"
            )

    async def _write_down(self, dispatch: Dispatch, result: DispatchResult) -> None:
        """Record the outcome, again and again until it is recorded or of no use any more."""
        pause_us, run = FIRST_PAUSE_US, dispatch.run
        operation = FinishDispatch(
            project_id=run.project_id, run_id=run.id, dispatch=run.dispatch, result=result,
            entropy=self._service.entropy(),
        )  # fmt: skip
        while not dispatch.over.is_set():
            try:
                self._count(result, await self._service.perform(operation))
                return
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("what came of run %s is not written down yet: %s", run.id, error.message)
            await self._clock.sleep_until(self._clock.now() + pause_us, dispatch.over)
            pause_us = min(2 * pause_us, LONGEST_PAUSE_US)
        self.results[OVERTAKEN] += 1

    def _count(self, result: DispatchResult, run: Run | None) -> None:
        if run is None:
            self.results[OVERTAKEN] += 1
        elif result.completed:
            self.results[COMPLETED] += 1
        else:
            self.results[RETRIED if run.status == RunStatus.DELAYED else FAILED] += 1

    async def _give_back(self, run: Run) -> None:
        operation = ReleaseRun(
            project_id=run.project_id, run_id=run.id, dispatch=run.dispatch, body_hash="",
            entropy=self._service.entropy(),
        )  # fmt: skip
        try:
            await self._service.perform(operation)
        except NarrowsError as error:
            # Its lease ends soon, or it has been taken already.
            log.info("run %s could not be given back: %s", run.id, error.message)
