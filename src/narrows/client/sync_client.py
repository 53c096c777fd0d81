"""`Client`: takes the steps of any plan with a blocking HTTP client. The table of its methods is the
same as `AsyncClient`'s; what each does stands in `calls/`, `waiting.py` and `following.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from narrows.client import calls, following, resolving, run_waiting, waiting
from narrows.client.columns import sync_call, sync_source
from narrows.client.connection import connect
from narrows.client.steps import Emit, Exchange, Lost, Open, Pause, Plan, Reply, Request, Source, Step

if TYPE_CHECKING:
    import httpx2

    from narrows.client.line import Line
    from narrows.client.pace import Pace

R = TypeVar("R")


class Client:
    """A client of a Narrows server, for threads. It may be shared between them; close it, or use `with`.

    `url` defaults to NARROWS_URL, then http://localhost:8080; `api_key` to NARROWS_API_KEY. `project_id`
    is for admin keys and `narrows dev`. `uds` is the path of the server's local socket. `retry_secs`:
    how long a call is tried again while the server does not answer; `reconnect_secs`: how long `wait`
    and `stream`, once they had reached it, go on trying. `transport` replaces the network.

    All methods raise the classes of `narrows.errors`: a Refusal has changed nothing, OutcomeUnknown and
    ConnectionFailed may have.

    Example::

        with Client() as client:
            trigger = client.open("approval:order_1", timeout_secs=600)
            print(client.wait(trigger).response_payload)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        project_id: str | None = None,
        uds: str | None = None,
        retry_secs: float = 10.0,
        reconnect_secs: float = 600.0,
        transport: httpx2.BaseTransport | None = None,
        pace: Pace | None = None,
    ) -> None:
        from narrows.client import transports  # noqa: PLC0415 - the HTTP library is paid for when used

        self._io = transports
        self._connection = connect(
            url=url,
            api_key=api_key,
            project_id=project_id,
            uds=uds,
            pace=pace,
            retry_secs=retry_secs,
            reconnect_secs=reconnect_secs,
        )
        self._http = transports.sync_http(self._connection, transport)
        self._has_own_transport = transport is not None

    open = sync_call(calls.open)
    get = sync_call(calls.get)
    list = sync_call(calls.list)
    iterate = sync_source(following.iterate)
    send = sync_call(calls.send)
    send_batch = sync_call(calls.send_batch)
    send_prefix = sync_call(calls.send_prefix)
    send_to_callback = sync_call(calls.send_to_callback)
    show_callback = sync_call(calls.show_callback)
    hold = sync_call(calls.hold)
    cancel = sync_call(calls.cancel)
    extend = sync_call(resolving.extend)
    wait = sync_call(waiting.wait)
    wait_once = sync_call(calls.wait_once)
    stream = sync_source(following.stream)
    stats = sync_call(calls.stats)
    purge = sync_call(calls.purge)
    explain = sync_call(calls.explain)
    held_events = sync_call(calls.held_events)
    delete_held_event = sync_call(calls.delete_held_event)
    unmatched_events = sync_call(calls.unmatched_events)
    create_callback_url = sync_call(resolving.create_callback_url)
    create_stream_token = sync_call(calls.create_stream_token)
    create_job = sync_call(calls.create_job)
    list_jobs = sync_call(calls.list_jobs)
    get_job = sync_call(calls.get_job)
    update_job = sync_call(calls.update_job)
    delete_job = sync_call(calls.delete_job)
    rotate_job_secret = sync_call(calls.rotate_job_secret)
    trigger_job = sync_call(calls.trigger_job)
    list_runs = sync_call(calls.list_runs)
    iterate_runs = sync_source(following.iterate_runs)
    get_run = sync_call(calls.get_run)
    cancel_run = sync_call(calls.cancel_run)
    replay_run = sync_call(calls.replay_run)
    run_events = sync_call(calls.run_events)
    wait_for_run = sync_call(run_waiting.wait_for_run)
    wait_for_run_once = sync_call(calls.wait_for_run_once)
    claim_runs = sync_call(calls.claim_runs)
    create_workflow = sync_call(calls.create_workflow)
    dry_run_workflow = sync_call(calls.dry_run_workflow)
    list_workflows = sync_call(calls.list_workflows)
    get_workflow = sync_call(calls.get_workflow)
    update_workflow = sync_call(calls.update_workflow)
    delete_workflow = sync_call(calls.delete_workflow)
    trigger_workflow = sync_call(calls.trigger_workflow)
    list_workflow_runs = sync_call(calls.list_workflow_runs)
    iterate_workflow_runs = sync_source(following.iterate_workflow_runs)
    get_workflow_run = sync_call(calls.get_workflow_run)
    workflow_run_steps = sync_call(calls.workflow_run_steps)
    workflow_run_step = sync_call(calls.workflow_run_step)
    workflow_run_timeline = sync_call(calls.workflow_run_timeline)
    workflow_run_graph = sync_call(calls.workflow_run_graph)
    cancel_workflow_run = sync_call(calls.cancel_workflow_run)
    pause_workflow_run = sync_call(calls.pause_workflow_run)
    resume_workflow_run = sync_call(calls.resume_workflow_run)
    retry_workflow_run = sync_call(calls.retry_workflow_run)
    approve_step = sync_call(calls.approve_step)
    reject_step = sync_call(calls.reject_step)
    skip_step = sync_call(calls.skip_step)
    retry_step = sync_call(calls.retry_step)
    list_deliveries = sync_call(calls.list_deliveries)
    retry_delivery = sync_call(calls.retry_delivery)
    create_project = sync_call(calls.create_project)
    list_projects = sync_call(calls.list_projects)
    rotate_project_secret = sync_call(calls.rotate_project_secret)
    create_api_key = sync_call(calls.create_api_key)
    list_api_keys = sync_call(calls.list_api_keys)
    revoke_api_key = sync_call(calls.revoke_api_key)
    rotate_api_key = sync_call(calls.rotate_api_key)
    version = sync_call(calls.version)
    live = sync_call(calls.live)
    ready = sync_call(calls.ready)
    metrics = sync_call(calls.metrics)
    openapi = sync_call(calls.openapi)
    reference = sync_call(calls.reference)

    def perform(self, plan: Plan[R]) -> R:
        """Perform any plan: every method above is this over a function of `calls`."""
        steps = plan.steps(self._connection.conditions)
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                result: R = stop.value
                return result
            answer = self._take(step)

    def follow(self, source: Source[R]) -> Iterator[R]:
        """Iterate over any source. Its connection is closed when the iteration ends or is left."""
        steps = source.emissions(self._connection.conditions)
        answer: Any = None
        opened = _Opened()
        try:
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration:
                    return
                if isinstance(step, Emit):
                    yield source.emitted(step.value)
                    answer = None
                else:
                    answer = self._take(step, opened)
        finally:
            opened.close()

    def _take(self, step: Step, opened: _Opened | None = None) -> Any:
        if isinstance(step, Pause):
            return self._connection.conditions.pace.sleep(step.secs)
        try:
            if isinstance(step, Exchange):
                response = self._http.send(self._io.build(self._http, self._connection.url, step.request))
                return self._io.reply(response, response.content)
            assert opened is not None
            if isinstance(step, Open):
                return self._open(step, opened)
            return next(opened.chunks, b"")
        except self._io.FAILURES as error:
            return self._io.lost(error)

    def _open(self, step: Open, opened: _Opened) -> Reply | Lost:
        opened.close()
        request = self._io.build(self._http, self._connection.url, step.request)
        response = self._http.send(request, stream=True)
        opened.response = response
        if self._io.is_success(response):
            opened.chunks = response.iter_raw()
            return self._io.reply(response, b"")
        return self._io.reply(response, response.read())

    def line(self, *, most: int) -> Line:
        """What a `Worker` sends by, in its event loop."""
        from narrows.client.line import Line  # noqa: PLC0415 - only for workers

        return Line(
            self._connection, self._exchange_in_thread if self._has_own_transport else None, most=most
        )

    async def _exchange_in_thread(self, request: Request) -> Reply | Lost:
        import asyncio  # noqa: PLC0415 - only for workers

        answer: Reply | Lost = await asyncio.to_thread(self._take, Exchange(request))
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._connection.conditions.url!r})"


class _Opened:
    """The stream that a source is reading, if any."""

    def __init__(self) -> None:
        self.response: httpx2.Response | None = None
        self.chunks: Iterator[bytes] = iter(())

    def close(self) -> None:
        if self.response is not None:
            self.response.close()
            self.response = None
