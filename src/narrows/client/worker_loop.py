"""The loop of a worker, in one event loop: claims as many runs as it has free slots, lets handlers execute
them, keeps their leases, reports how they ended. It lives through the server's absence. Not here: settings
and signals (`worker.py`), what a handler sees (`worker_run.py`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from narrows.client import calls
from narrows.client.attempts import Failure, Trouble, judge, request_of
from narrows.client.call import Call
from narrows.client.line import Line, Patient
from narrows.client.steps import Lost, Plan
from narrows.client.worker_run import AsyncWorkerRun, DoNotRetry, Execution, WorkerRun
from narrows.client.worker_threads import Outcome, Threads
from narrows.errors import Conflict, Forbidden, Gone, NarrowsError, NotFound, Refusal, Unauthenticated
from narrows.wire.run_messages import ClaimedRun

log = logging.getLogger("narrows.worker")

CLAIM_LIMIT = 100
CLAIM_SECS = 30
#: How long after a stop the answer of a claim may take that is on its way.
LAST_CLAIM_SECS = 2.0
#: How long a handler that was cancelled may clean up, a last report take, a run be given back.
CLEANUP_SECS = 5.0
MAX_ERROR_CHARS = 10_000
#: Connections for everything but the claim; the runs share them.
CONNECTIONS = 24
#: The run is not this dispatch's any more, or nothing would be accepted from it.
LOST = (Conflict, Gone, NotFound, Unauthenticated, Forbidden)


class Settings(NamedTuple):
    handlers: Mapping[str, Callable[[Any], Any]]
    concurrency: int
    name: str
    grace_secs: float
    #: Handlers are plain functions, which run in threads.
    in_threads: bool


class WorkerLoop:
    """One serving of one worker, in the event loop in which it is made."""

    def __init__(self, settings: Settings, line: Callable[[int], Line]) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._claims, self._line = line(1), line(CONNECTIONS)
        self._threads = Threads(settings.concurrency)
        self._executions: set[Execution] = set()
        self._beats: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    def stop(self) -> None:
        """Claim no more, and end when the handlers have. Called again: give back at once what is not done."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()
        self._changed.set()

    async def serve(self) -> None:
        """Until `stop`, or until the server refuses to give runs at all, which is raised in the end."""
        try:
            await self._claim_runs()
        finally:
            self._stopping.set()
            await self._drain()
            await self._claims.close()
            await self._line.close()
            self._threads.end()

    # ---- claims ------------------------------------------------------------------------------

    async def _claim_runs(self) -> None:
        trouble = Trouble(self._claims.conditions, math.inf)
        while not self._stopping.is_set():
            free = self._settings.concurrency - len(self._executions)
            if free <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            outcome = await self._claim(min(free, CLAIM_LIMIT))
            if not isinstance(outcome, Failure):
                trouble.is_over(math.inf)
                for each in outcome.runs:
                    self._begin(each)
            elif not self._stopping.is_set():
                if isinstance(outcome.error, Refusal) and not outcome.worth_repeating:
                    raise outcome.error
                log.warning("No runs can be claimed, it is tried again: %s", outcome.error.message)
                await self._pause(trouble.pause_secs(outcome.error) or 0)

    async def _claim(self, limit: int) -> Any:
        call = calls.claim_runs(
            self._settings.handlers, limit=limit, wait_secs=CLAIM_SECS, worker=self._settings.name
        )
        conditions = self._claims.conditions
        asking = asyncio.ensure_future(self._claims.exchange(request_of(call, conditions)))
        try:
            if not await self._unless_stopped(asking):
                # Runs that are given to nobody would come back only with the end of their leases.
                self._claims.finish()
                await asyncio.wait({asking}, timeout=LAST_CLAIM_SECS)
            stopped = Lost("the worker was stopped", sent=True)
            return judge(call, asking.result() if asking.done() else stopped, conditions)
        finally:
            asking.cancel()

    async def _pause(self, secs: float) -> None:
        """Let these seconds pass, or less if the worker is stopped."""
        pause = asyncio.ensure_future(self._claims.conditions.pace.sleep_async(secs))
        if not await self._unless_stopped(pause):
            pause.cancel()

    async def _unless_stopped(self, future: asyncio.Future[Any]) -> bool:
        """Wait until it is done, or the worker is stopped; whether it is done."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({future, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        return future.done()

    # ---- executing ---------------------------------------------------------------------------

    def _begin(self, claimed: ClaimedRun) -> None:
        execution = Execution(claimed, self._loop.time())
        self._executions.add(execution)
        self._wake_later(execution)
        execution.task = self._loop.create_task(self._execute(execution))

    async def _execute(self, execution: Execution) -> None:
        """From the start of the handler to the report of its end: what takes a slot."""
        claimed, handlers = execution.claimed, self._settings.handlers
        try:
            handler = handlers.get(claimed.job_slug) or handlers.get(claimed.run.job_id)
            if handler is None or self._stopping.is_set():
                # Its job has another name by now, or the worker was stopped while the claim was answered.
                execution.is_over = True
                await self._give_back(execution)
                return
            ending = self._ending_of(execution, await self._handle(execution, handler))
            if ending is not None:
                await self._report(execution, ending)
        except Exception:
            # A fault of the worker itself; the run comes back when its lease is over.
            log.exception("%r was left", execution)
        finally:
            execution.is_over = True
            execution.timer.cancel()
            self._executions.discard(execution)
            self._changed.set()

    async def _handle(self, execution: Execution, handler: Callable[[Any], Any]) -> Outcome:
        execution.is_handling = True
        try:
            if self._settings.in_threads:
                run = WorkerRun(execution, self._perform_in_loop)
                return await self._threads.submit(lambda: handler(run))
            return Outcome(await handler(AsyncWorkerRun(execution, self._line.perform)), None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the handler's outcome
            return Outcome(None, error)
        finally:
            execution.is_handling = False

    def _perform_in_loop(self, plan: Plan[Any]) -> Any:
        """From the thread of a handler."""
        return asyncio.run_coroutine_threadsafe(self._line.perform(plan), self._loop).result()

    def _ending_of(self, execution: Execution, outcome: Outcome) -> Call[Any] | None:
        """What is to be told of how the handler ended; None where there is nothing any more."""
        plane, error = execution.plane, outcome.error
        if execution.is_over:
            if error is None or isinstance(error, Exception):
                log.info("%r is no longer in hand; how its handler ended is dropped", execution)
            return None
        if error is None:
            try:
                return plane.complete(outcome.value)
            except Refusal as refused:
                return plane.fail(f"The handler's result is none: {refused.message}", retry=False)
        if isinstance(error, DoNotRetry):
            return plane.fail(_clean(str(error) or "DoNotRetry"), retry=False)
        log.warning("%r failed", execution, exc_info=error)
        return plane.fail(_clean(f"{type(error).__name__}: {error}"))

    async def _report(self, execution: Execution, ending: Call[Any]) -> None:
        patience_secs = self._line.conditions.reconnect_secs
        try:
            await self._line.perform(Patient(ending, patience_secs))
        except LOST as error:
            log.info("%r is no longer in hand; its end was refused: %s", execution, error.message)
        except Refusal as error:
            if error.retry_after_secs is not None:
                log.error("The end of %r could not be told: %s", execution, error.message)
                return
            # Too large, say. The same would be refused again.
            failing = execution.plane.fail(
                _clean(f"The server refused the result: {error.message}"), retry=False
            )
            await self._line.perform(Patient(failing, patience_secs))
        except NarrowsError as error:
            log.error("The end of %r could not be told: %s", execution, error.message)

    # ---- leases ------------------------------------------------------------------------------

    def _wake_later(self, execution: Execution) -> None:
        secs = min(execution.interval_secs, max(0.0, execution.deadline - self._loop.time()))
        execution.timer = self._loop.call_later(secs, self._wake, execution)

    def _wake(self, execution: Execution) -> None:
        if self._loop.time() >= execution.deadline and execution.is_handling:
            # The server counts the lost attempt by itself.
            log.warning("%r did not end within its %d s", execution, execution.claimed.run.timeout_secs)
            self._give_up(execution)
            return
        beat = self._loop.create_task(self._beat(execution))
        self._beats.add(beat)
        beat.add_done_callback(self._beats.discard)

    async def _beat(self, execution: Execution) -> None:
        try:
            await self._line.perform(Patient(execution.plane.heartbeat(), execution.interval_secs))
        except LOST as error:
            if not execution.is_over:
                log.info("%r was taken away: %s", execution, error.message)
                self._give_up(execution)
        except NarrowsError as error:
            log.warning("No heartbeat for %r, it is tried again: %s", execution, error.message)
        if not execution.is_over:
            self._wake_later(execution)

    def _give_up(self, execution: Execution) -> None:
        """It is nobody's business any more how the handler ends. A thread can only be told."""
        execution.is_over = True
        if execution.is_handling and not self._settings.in_threads:
            execution.task.cancel()

    # ---- the end -----------------------------------------------------------------------------

    async def _drain(self) -> None:
        hurried = asyncio.ensure_future(self._hurrying.wait())
        ended = asyncio.ensure_future(self._all_ended())
        try:
            await asyncio.wait(
                {hurried, ended}, timeout=self._settings.grace_secs, return_when=asyncio.FIRST_COMPLETED
            )
            await self._give_back_rest()
        finally:
            for each in (hurried, ended, *self._beats, *(each.task for each in self._executions)):
                each.cancel()
        if self._executions:
            await asyncio.wait({each.task for each in self._executions}, timeout=CLEANUP_SECS)

    async def _all_ended(self) -> None:
        while self._executions:
            await asyncio.wait({each.task for each in self._executions})

    async def _give_back_rest(self) -> None:
        left = [each for each in self._executions if each.is_handling and not each.is_over]
        for each in left:
            self._give_up(each)
        if not self._settings.in_threads and self._executions:
            await asyncio.wait({each.task for each in self._executions}, timeout=CLEANUP_SECS)
        await asyncio.gather(*(self._give_back(each) for each in left))

    async def _give_back(self, execution: Execution) -> None:
        try:
            await self._line.perform(Patient(execution.plane.release(), CLEANUP_SECS))
        except LOST as error:
            log.info("%r could not be given back: %s", execution, error.message)
        except NarrowsError as error:
            log.warning(
                "%r could not be given back, it is queued when its lease is over: %s",
                execution,
                error.message,
            )


def _clean(text: str) -> str:
    """As the server takes it: no lone surrogates, no NUL, not too long."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")[:MAX_ERROR_CHARS]
