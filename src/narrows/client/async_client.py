"""`AsyncClient`: takes the steps of any plan with an asyncio HTTP client. The table of its methods is
the same as `Client`'s; what each does stands in `calls/`, `waiting.py` and `following.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from narrows.client import calls, following, resolving, run_waiting, waiting
from narrows.client.columns import async_call, async_source
from narrows.client.connection import connect
from narrows.client.steps import Emit, Exchange, Lost, Open, Pause, Plan, Reply, Request, Source, Step

if TYPE_CHECKING:
    import httpx2

    from narrows.client.line import Line
    from narrows.client.pace import Pace

R = TypeVar("R")


class AsyncClient:
    """A client of a Narrows server, for asyncio. Close it, or use `async with`.

    Every method is that of `Client`, awaited; `iterate` and `stream` are iterated by `async for`.

    The arguments are those of `Client`.

    Example::

        async with AsyncClient() as client:
            trigger = await client.open("approval:order_1", timeout_secs=600)
            print((await client.wait(trigger)).response_payload)
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
        transport: httpx2.AsyncBaseTransport | None = None,
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
        self._http = transports.async_http(self._connection, transport)
        self._has_own_transport = transport is not None

    open = async_call(calls.open)
    get = async_call(calls.get)
    list = async_call(calls.list)
    iterate = async_source(following.iterate)
    send = async_call(calls.send)
    send_batch = async_call(calls.send_batch)
    send_prefix = async_call(calls.send_prefix)
    send_to_callback = async_call(calls.send_to_callback)
    show_callback = async_call(calls.show_callback)
    hold = async_call(calls.hold)
    cancel = async_call(calls.cancel)
    extend = async_call(resolving.extend)
    wait = async_call(waiting.wait)
    wait_once = async_call(calls.wait_once)
    stream = async_source(following.stream)
    stats = async_call(calls.stats)
    purge = async_call(calls.purge)
    explain = async_call(calls.explain)
    held_events = async_call(calls.held_events)
    delete_held_event = async_call(calls.delete_held_event)
    unmatched_events = async_call(calls.unmatched_events)
    create_callback_url = async_call(resolving.create_callback_url)
    create_stream_token = async_call(calls.create_stream_token)
    create_job = async_call(calls.create_job)
    list_jobs = async_call(calls.list_jobs)
    get_job = async_call(calls.get_job)
    update_job = async_call(calls.update_job)
    delete_job = async_call(calls.delete_job)
    rotate_job_secret = async_call(calls.rotate_job_secret)
    trigger_job = async_call(calls.trigger_job)
    list_runs = async_call(calls.list_runs)
    iterate_runs = async_source(following.iterate_runs)
    get_run = async_call(calls.get_run)
    cancel_run = async_call(calls.cancel_run)
    replay_run = async_call(calls.replay_run)
    run_events = async_call(calls.run_events)
    wait_for_run = async_call(run_waiting.wait_for_run)
    wait_for_run_once = async_call(calls.wait_for_run_once)
    claim_runs = async_call(calls.claim_runs)
    create_workflow = async_call(calls.create_workflow)
    dry_run_workflow = async_call(calls.dry_run_workflow)
    list_workflows = async_call(calls.list_workflows)
    get_workflow = async_call(calls.get_workflow)
    update_workflow = async_call(calls.update_workflow)
    delete_workflow = async_call(calls.delete_workflow)
    trigger_workflow = async_call(calls.trigger_workflow)
    list_workflow_runs = async_call(calls.list_workflow_runs)
    iterate_workflow_runs = async_source(following.iterate_workflow_runs)
    get_workflow_run = async_call(calls.get_workflow_run)
    workflow_run_steps = async_call(calls.workflow_run_steps)
    workflow_run_step = async_call(calls.workflow_run_step)
    workflow_run_timeline = async_call(calls.workflow_run_timeline)
    workflow_run_graph = async_call(calls.workflow_run_graph)
    cancel_workflow_run = async_call(calls.cancel_workflow_run)
    pause_workflow_run = async_call(calls.pause_workflow_run)
    resume_workflow_run = async_call(calls.resume_workflow_run)
    retry_workflow_run = async_call(calls.retry_workflow_run)
    approve_step = async_call(calls.approve_step)
    reject_step = async_call(calls.reject_step)
    skip_step = async_call(calls.skip_step)
    retry_step = async_call(calls.retry_step)
    list_deliveries = async_call(calls.list_deliveries)
    retry_delivery = async_call(calls.retry_delivery)
    create_project = async_call(calls.create_project)
    list_projects = async_call(calls.list_projects)
    rotate_project_secret = async_call(calls.rotate_project_secret)
    create_api_key = async_call(calls.create_api_key)
    list_api_keys = async_call(calls.list_api_keys)
    revoke_api_key = async_call(calls.revoke_api_key)
    rotate_api_key = async_call(calls.rotate_api_key)
    version = async_call(calls.version)
    live = async_call(calls.live)
    ready = async_call(calls.ready)
    metrics = async_call(calls.metrics)
    openapi = async_call(calls.openapi)
    reference = async_call(calls.reference)

    async def perform(self, plan: Plan[R]) -> R:
        """Perform any plan: every method above is this over a function of `calls`."""
        steps = plan.steps(self._connection.conditions)
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                result: R = stop.value
                return result
            answer = await self._take(step)

    async def follow(self, source: Source[R]) -> AsyncIterator[R]:
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
                    answer = await self._take(step, opened)
        finally:
            await opened.close()

    async def _take(self, step: Step, opened: _Opened | None = None) -> Any:
        if isinstance(step, Pause):
            return await self._connection.conditions.pace.sleep_async(step.secs)
        try:
            if isinstance(step, Exchange):
                response = await self._http.send(
                    self._io.build(self._http, self._connection.url, step.request)
                )
                return self._io.reply(response, response.content)
            assert opened is not None
            if isinstance(step, Open):
                return await self._open(step, opened)
            return await anext(opened.chunks, b"")
        except self._io.FAILURES as error:
            return self._io.lost(error)

    async def _open(self, step: Open, opened: _Opened) -> Reply | Lost:
        await opened.close()
        request = self._io.build(self._http, self._connection.url, step.request)
        response = await self._http.send(request, stream=True)
        opened.response = response
        if self._io.is_success(response):
            opened.chunks = response.aiter_raw()
            return self._io.reply(response, b"")
        return self._io.reply(response, await response.aread())

    def line(self, *, most: int) -> Line:
        """What a `Worker` sends by, in its event loop."""
        from narrows.client.line import Line  # noqa: PLC0415 - only for workers

        return Line(self._connection, self._exchange if self._has_own_transport else None, most=most)

    async def _exchange(self, request: Request) -> Reply | Lost:
        answer: Reply | Lost = await self._take(Exchange(request))
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection.conditions.url!r})"


class _Opened:
    """The stream that a source is reading, if any."""

    def __init__(self) -> None:
        self.response: httpx2.Response | None = None
        self.chunks: AsyncIterator[bytes] = _nothing()

    async def close(self) -> None:
        if self.response is not None:
            await self.response.aclose()
            self.response = None


async def _nothing() -> AsyncIterator[bytes]:
    """No chunks: what is read before a stream is opened."""
    for chunk in list[bytes]():
        yield chunk
