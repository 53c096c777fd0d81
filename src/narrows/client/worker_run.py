"""What a worker's handler is given, and how it says what is to become of the run. Not here: the loop that
claims runs and reports their ends (`worker_loop.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from msgspec import UNSET

from narrows.client.calls.run_plane import RunPlane
from narrows.client.columns import async_run_call, dress, sync_run_call
from narrows.client.steps import Plan
from narrows.wire.messages import Trigger
from narrows.wire.run_messages import ClaimedRun, RunState, WaitResult

P = ParamSpec("P")
R = TypeVar("R")


class DoNotRetry(Exception):
    """Raise it in a handler to fail the run for good: no further attempt would help.

    Example::

        raise DoNotRetry("the card was refused")
    """


class RunSuspended(BaseException):
    """The run waits, durably, and this execution of its handler is over: it ends the handler, and is no
    error. `granted` says what it waits for, with the callback URL if one was asked for. Whoever catches
    it must raise it again; that `except Exception` does not catch it is meant.
    """

    def __init__(self, granted: WaitResult) -> None:
        super().__init__(f"the run waits for {granted.event_key}")
        self.granted = granted


class Execution:
    """One dispatch of a run in this worker's hands. `is_over`: it is none any more, whatever the handler
    does: it waits, was canceled, lost, given back, or out of time."""

    __slots__ = ("claimed", "deadline", "interval_secs", "is_handling", "is_over", "plane", "task", "timer")

    def __init__(self, claimed: ClaimedRun, now: float) -> None:
        self.claimed = claimed
        self.plane = RunPlane(claimed.run.id, claimed.run_token)
        begun = claimed.run.dispatched_at
        lease_secs = 60.0 if begun is None else (claimed.lease_until - begun).total_seconds()
        self.interval_secs = max(lease_secs / 3, 0.05)
        self.deadline = now + claimed.run.timeout_secs
        self.is_over = False
        self.is_handling = False
        self.task: Any = None
        self.timer: Any = None

    def __repr__(self) -> str:
        return f"run {self.claimed.run.id} of {self.claimed.job_slug}"


class _Facts:
    """What both kinds of runs show. `event` is the trigger that the run's last wait ended with, None if it
    never waited; `events` are all of a wait for several."""

    def __init__(self, execution: Execution) -> None:
        claimed, self._execution = execution.claimed, execution
        self.record = claimed.run
        self.id = claimed.run.id
        self.job = claimed.job_slug
        self.attempt = claimed.run.attempt
        self.payload: Any = None if claimed.run.payload is UNSET else claimed.run.payload
        checkpoint = claimed.checkpoint
        self.state: Any = None if checkpoint.state is UNSET else checkpoint.state
        self.event: Trigger | None = checkpoint.event
        self.events: list[Trigger] = checkpoint.events or ([checkpoint.event] if checkpoint.event else [])

    def suspended(self, granted: WaitResult) -> RunSuspended:
        """The dispatch is over with the grant, whatever becomes of the exception."""
        self._execution.is_over = True
        return RunSuspended(granted)

    @property
    def plane(self) -> RunPlane:
        return self._execution.plane

    @property
    def is_over(self) -> bool:
        """The run is no longer this handler's: it was canceled, is out of time, or has been given to
        another. What the handler still does is dropped."""
        return self._execution.is_over

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, job={self.job!r}, attempt={self.attempt})"


def _suspends(
    make: Callable[Concatenate[RunPlane, P], Plan[WaitResult]],
) -> Callable[Concatenate[WorkerRun, P], NoReturn]:
    def method(self: WorkerRun, /, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        raise self.suspended(self.perform(make(self.plane, *args, **kwargs)))

    dress(method, make, skip=1)
    return method


def _suspends_async(
    make: Callable[Concatenate[RunPlane, P], Plan[WaitResult]],
) -> Callable[Concatenate[AsyncWorkerRun, P], Coroutine[Any, Any, NoReturn]]:
    async def method(self: AsyncWorkerRun, /, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        raise self.suspended(await self.perform(make(self.plane, *args, **kwargs)))

    dress(method, make, skip=1)
    return method


class WorkerRun(_Facts):
    """A run in the hands of a handler that is a plain function, in a thread of the worker.

    `id`, `job` (the slug), `attempt`, `payload`, `state` (what it kept), `event` and `events` (how its last
    wait ended), `is_over`; `record` is all that the server knows. The handler ends by returning the run's
    result, by raising (retried; DoNotRetry: not), or by one of the waits, which do not return: after it
    the handler is called anew, with the event in `event`.

    Example::

        def ship(run: WorkerRun) -> dict[str, Any]:
            if run.event is None:
                run.wait_for_event(f"paid:{run.payload['order']}", timeout_secs=86_400)
            return {"shipped": True, "paid": run.event.response_payload}
    """

    def __init__(self, execution: Execution, perform: Callable[[Plan[Any]], Any]) -> None:
        super().__init__(execution)
        self._perform = perform

    def perform(self, plan: Plan[R]) -> R:
        """Perform any plan by the worker's connections."""
        result: R = self._perform(plan)
        return result

    def checkpoint(self, state: Any) -> RunState:
        """Keep any JSON value with the run: `state` of this and of later executions."""
        saved = self.perform(self.plane.save_checkpoint(state))
        self.state = state
        return saved

    log = sync_run_call(RunPlane.log)
    progress = sync_run_call(RunPlane.progress)
    wait_for_event = _suspends(RunPlane.wait_for_event)
    wait_for_events = _suspends(RunPlane.wait_for_events)
    sleep = _suspends(RunPlane.sleep)


class AsyncWorkerRun(_Facts):
    """The same for a handler that is a coroutine function: every method of `WorkerRun`, awaited.

    Example::

        async def ship(run: AsyncWorkerRun) -> dict[str, Any]:
            if run.event is None:
                await run.wait_for_event(f"paid:{run.payload['order']}", timeout_secs=86_400)
            return {"shipped": True, "paid": run.event.response_payload}
    """

    def __init__(self, execution: Execution, perform: Callable[[Plan[Any]], Awaitable[Any]]) -> None:
        super().__init__(execution)
        self._perform = perform

    async def perform(self, plan: Plan[R]) -> R:
        """Perform any plan by the worker's connections."""
        result: R = await self._perform(plan)
        return result

    async def checkpoint(self, state: Any) -> RunState:
        """Keep any JSON value with the run: `state` of this and of later executions."""
        saved = await self.perform(self.plane.save_checkpoint(state))
        self.state = state
        return saved

    log = async_run_call(RunPlane.log)
    progress = async_run_call(RunPlane.progress)
    wait_for_event = _suspends_async(RunPlane.wait_for_event)
    wait_for_events = _suspends_async(RunPlane.wait_for_events)
    sleep = _suspends_async(RunPlane.sleep)
