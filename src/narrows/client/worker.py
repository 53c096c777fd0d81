"""`Worker`: executes the runs of jobs that have no endpoint. Here are its settings, its start and its stop;
the loop is in `worker_loop.py`, what a handler is given in `worker_run.py`.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from narrows.client.async_client import AsyncClient
from narrows.client.sync_client import Client
from narrows.errors import InvalidRequest

if TYPE_CHECKING:
    import asyncio

    from narrows.client.worker_loop import WorkerLoop

MAX_JOBS = 100


class Worker:
    """Executes runs of the jobs `handlers` names, by slug. With a `Client` the handlers are plain functions
    and run in threads; with an `AsyncClient` they are coroutine functions. Each is given a run: `WorkerRun`
    or `AsyncWorkerRun`, which say how it may end.

    `concurrency`: runs at once. `name` is shown as the runs' holder; this machine and process if left out.
    `grace_secs`: how long handlers may go on after a stop, before their runs are given back.

    A run is executed at least once: if this process is killed, another worker takes its runs after the
    lease (60 s, renewed by heartbeats meanwhile). Losing the server stops no handler.

    Example::

        def resize(run: WorkerRun) -> dict[str, Any]:
            run.log(f"resizing {run.payload['file']}")
            return {"ok": True}

        with Client() as client:
            Worker(client, {"resize-image": resize}).run()
    """

    def __init__(
        self,
        client: Client | AsyncClient,
        handlers: Mapping[str, Callable[[Any], Any]],
        *,
        concurrency: int = 10,
        name: str | None = None,
        grace_secs: float = 20.0,
    ) -> None:
        if not 1 <= len(handlers) <= MAX_JOBS:
            raise InvalidRequest(f"A worker has 1 to {MAX_JOBS} handlers, not {len(handlers)}.")
        if concurrency < 1:
            raise InvalidRequest(f"concurrency is at least 1, not {concurrency}.")
        self._client = client
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._name = (name or f"{socket.gethostname()}:{os.getpid()}")[:100]
        self._grace_secs = grace_secs
        self._check_kind()
        self._serving: tuple[asyncio.AbstractEventLoop, WorkerLoop] | None = None
        self._stops = 0
        self._lock = threading.Lock()

    def _check_kind(self) -> None:
        is_async = isinstance(self._client, AsyncClient)
        for slug, handler in self._handlers.items():
            call = getattr(handler, "__call__", handler)  # noqa: B004 - an object whose call is a coroutine function
            if (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)) is not is_async:
                wanted = "a coroutine function (async def)" if is_async else "a plain function, not async"
                raise InvalidRequest(
                    f"The handler of {slug} must be {wanted}, since the worker has {type(self._client).__name__}."
                )

    def run(self) -> None:
        """Execute runs until SIGTERM, SIGINT or `stop`. A second signal gives back at once what is not done.

        Raises what the server says if it refuses to give runs at all: NotFound (no such job), Unauthenticated,
        Forbidden. Blocks; inside of a running event loop await `run_async` instead.
        """
        import asyncio  # noqa: PLC0415 - `import narrows.client` does not pay for it

        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            runner.run(self._run_with_signals())

    async def run_async(self) -> None:
        """As `run`, in the running event loop, whose signals are left alone."""
        import asyncio  # noqa: PLC0415 - as above

        from narrows.client.worker_loop import Settings, WorkerLoop  # noqa: PLC0415 - as above

        settings = Settings(
            self._handlers, self._concurrency, self._name, self._grace_secs, isinstance(self._client, Client)
        )
        serving = WorkerLoop(settings, lambda most: self._client.line(most=most))
        with self._lock:
            self._serving = asyncio.get_running_loop(), serving
            for _ in range(self._stops):
                serving.stop()
        try:
            await serving.serve()
        finally:
            with self._lock:
                self._serving = None

    def stop(self) -> None:
        """Claim no more runs, and end when the handlers have ended or `grace_secs` are over. From any
        thread, and before the start too. Called again: give back at once what is not done."""
        with self._lock:
            self._stops += 1
            if self._serving is not None:
                loop, serving = self._serving
                loop.call_soon_threadsafe(serving.stop)

    async def _run_with_signals(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        with self._signals(asyncio.get_running_loop()):
            await self.run_async()

    @contextlib.contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        """Only the main thread is told of signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not everywhere, and not for clients
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
