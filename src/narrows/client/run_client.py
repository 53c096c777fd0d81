"""`RunClient` and `AsyncRunClient`: the run plane for whoever executes a run that the server has sent to
an endpoint. Workers have no need of them: their handlers are given a run (`worker_run.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, Self, TypeVar

from narrows.client.async_client import AsyncClient
from narrows.client.calls.run_plane import RunPlane
from narrows.client.columns import async_run_call, sync_run_call
from narrows.client.steps import Plan
from narrows.client.sync_client import Client
from narrows.errors import InvalidRequest

R = TypeVar("R")


class _OfOneRun:
    """Which run it is, by which dispatch. `resume_trigger` is the id of the trigger that it goes on with."""

    def __init__(self, run_id: str, run_token: str, resume_trigger: str | None) -> None:
        self.plane = RunPlane(run_id, run_token)
        self.resume_trigger = resume_trigger

    @property
    def id(self) -> str:
        return self.plane.run_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.plane.run_id!r})"


class RunClient(_OfOneRun):
    """The calls of one run, by the token of its dispatch, for threads. It shares the client's connections
    and needs no API key.

    An ending call (`complete`, `fail`, `release`, `sleep`, `wait_for_event`, `wait_for_events`) ends this
    dispatch: what the endpoint answers after it is ignored. Conflict: the run is no longer this dispatch's;
    Gone: it has ended.

    Example::

        run = RunClient.from_headers(client, request.headers)
        run.log("half way there")
        run.wait_for_event(f"approval:{run.id}", timeout_secs=86_400)
    """

    def __init__(
        self, client: Client, *, run_id: str, run_token: str, resume_trigger: str | None = None
    ) -> None:
        super().__init__(run_id, run_token, resume_trigger)
        self._client = client

    @classmethod
    def from_headers(cls, client: Client, headers: Headers) -> Self:
        """The run that a request to an endpoint is about. `headers` is any framework's mapping of them, or
        an iterable of pairs. Raises InvalidRequest if they are not those of a dispatch."""
        run_id, run_token, resume_trigger = _of_dispatch(headers)
        return cls(client, run_id=run_id, run_token=run_token, resume_trigger=resume_trigger)

    def perform(self, plan: Plan[R]) -> R:
        return self._client.perform(plan)

    payload = sync_run_call(RunPlane.payload)
    get_checkpoint = sync_run_call(RunPlane.get_checkpoint)
    save_checkpoint = sync_run_call(RunPlane.save_checkpoint)
    log = sync_run_call(RunPlane.log)
    progress = sync_run_call(RunPlane.progress)
    heartbeat = sync_run_call(RunPlane.heartbeat)
    complete = sync_run_call(RunPlane.complete)
    fail = sync_run_call(RunPlane.fail)
    release = sync_run_call(RunPlane.release)
    sleep = sync_run_call(RunPlane.sleep)
    wait_for_event = sync_run_call(RunPlane.wait_for_event)
    wait_for_events = sync_run_call(RunPlane.wait_for_events)


class AsyncRunClient(_OfOneRun):
    """The same for asyncio: every method of `RunClient`, awaited."""

    def __init__(
        self, client: AsyncClient, *, run_id: str, run_token: str, resume_trigger: str | None = None
    ) -> None:
        super().__init__(run_id, run_token, resume_trigger)
        self._client = client

    @classmethod
    def from_headers(cls, client: AsyncClient, headers: Headers) -> Self:
        """As `RunClient.from_headers`."""
        run_id, run_token, resume_trigger = _of_dispatch(headers)
        return cls(client, run_id=run_id, run_token=run_token, resume_trigger=resume_trigger)

    async def perform(self, plan: Plan[R]) -> R:
        return await self._client.perform(plan)

    payload = async_run_call(RunPlane.payload)
    get_checkpoint = async_run_call(RunPlane.get_checkpoint)
    save_checkpoint = async_run_call(RunPlane.save_checkpoint)
    log = async_run_call(RunPlane.log)
    progress = async_run_call(RunPlane.progress)
    heartbeat = async_run_call(RunPlane.heartbeat)
    complete = async_run_call(RunPlane.complete)
    fail = async_run_call(RunPlane.fail)
    release = async_run_call(RunPlane.release)
    sleep = async_run_call(RunPlane.sleep)
    wait_for_event = async_run_call(RunPlane.wait_for_event)
    wait_for_events = async_run_call(RunPlane.wait_for_events)


class _WithItems(Protocol):
    """A mapping of headers, also one that is no `Mapping`, as that of `http.server`."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


Headers = _WithItems | Iterable[tuple[Any, Any]]


def _of_dispatch(headers: Headers) -> tuple[str, str, str | None]:
    pairs: Iterable[tuple[Any, Any]] = headers.items() if hasattr(headers, "items") else headers
    found = {_text(name).lower().replace("_", "-"): _text(value) for name, value in pairs}
    # WSGI's environ spells them HTTP_X_RUN_ID.
    run_id, run_token, resume_trigger = (
        found.get(name) or found.get(f"http-{name}")
        for name in ("x-run-id", "x-run-token", "x-resume-trigger")
    )
    if not run_id or not run_token:
        raise InvalidRequest(
            "The request has no X-Run-ID and X-Run-Token: it is no dispatch of a run, or a proxy took them away."
        )
    return run_id, run_token, resume_trigger


def _text(part: Any) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)
