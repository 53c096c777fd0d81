"""Runs: how soon one is dispatched and goes on, how many a worker gets through, what a crowd costs."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks import clients, load, prepare_runs
from benchmarks.clients import Wire
from benchmarks.places import HOST, ROOT
from benchmarks.prepare import API_KEY
from benchmarks.prepare_runs import JOB
from benchmarks.report import figure, quantile
from benchmarks.server import Server
from benchmarks.setting import Setting, spread
from narrows.client import AsyncClient, AsyncWorkerRun, Worker

ONE_BY_ONE = 200
#: More than a worker can end in a run of the benchmark.
BACKLOG = 60_000
WAITING = 100_000


# ---- one at a time on an idle server -----------------------------------------------------------


class Dispatched(NamedTuple):
    """A request that came to the endpoint, and when."""

    at: float
    run_id: str
    run_token: str


class Endpoint:
    """Takes dispatches in a thread of its own, and answers each when it is told to."""

    def __init__(self) -> None:
        self.heard: queue.Queue[Dispatched] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._answers: asyncio.Queue[None] = asyncio.Queue()
        self._ready = threading.Event()
        self.port = 0
        threading.Thread(target=self._serve, daemon=True).start()
        self._ready.wait()

    def _serve(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._take, HOST, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                return
            at = time.perf_counter()
            lines = (line.partition(": ") for line in head.split("\r\n")[1:])
            headers = {name.lower(): value for name, _, value in lines}
            await reader.readexactly(int(headers.get("content-length", 0)))
            self.heard.put(Dispatched(at, headers["x-run-id"], headers["x-run-token"]))
            await self._answers.get()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def answer(self) -> None:
        self._loop.call_soon_threadsafe(self._answers.put_nowait, None)


def _by_push(server: Server) -> tuple[list[float], list[float]]:
    """Milliseconds from the trigger to the dispatch, and from the send to the dispatch that resumes."""
    endpoint, wire = Endpoint(), Wire(server.port)
    wire.call("POST", "/v1/jobs", {"slug": "pushed", "endpoint_url": f"http://{HOST}:{endpoint.port}/"})
    dispatched, resumed = [], []
    for number in range(ONE_BY_ONE):
        began = time.perf_counter()
        wire.call("POST", "/v1/jobs/pushed/trigger", {"payload": {"number": number}})
        first = endpoint.heard.get(timeout=10)
        dispatched.append((first.at - began) * 1000)
        key, path = f"push:{number}", f"/sdk/v1/runs/{first.run_id}/wait-for-event"
        wire.call("POST", path, {"event_key": key}, token=first.run_token)
        endpoint.answer()
        time.sleep(0.005)
        began = time.perf_counter()
        wire.call("POST", f"/v1/events/{key}/send", {"payload": {"approved": True}})
        resumed.append((endpoint.heard.get(timeout=10).at - began) * 1000)
        endpoint.answer()
        time.sleep(0.005)
    wire.close()
    return dispatched, resumed


@contextmanager
def working(
    server: Server, job: str, handle: Callable[[AsyncWorkerRun], Coroutine[Any, Any, None]]
) -> Iterator[None]:
    """A worker for that job, in a thread of its own."""
    started: list[Worker] = []

    async def work() -> None:
        async with AsyncClient(f"http://{HOST}:{server.port}", api_key=API_KEY) as client:
            worker = Worker(client, {job: handle})
            started.append(worker)
            await worker.run_async()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield
    finally:
        started[0].stop()
        thread.join()


def _by_worker(server: Server) -> list[float]:
    """Milliseconds from the send until the worker's handler has the payload."""
    heard: queue.Queue[float] = queue.Queue()

    async def handle(run: AsyncWorkerRun) -> None:
        if run.event is None:
            await run.wait_for_event(run.payload["key"])
        heard.put(time.perf_counter())

    wire, took = Wire(server.port), []
    wire.call("POST", "/v1/jobs", {"slug": "fetched"})
    with working(server, "fetched", handle):
        for number in range(ONE_BY_ONE):
            key = f"fetch:{number}"
            run = wire.call("POST", "/v1/jobs/fetched/trigger", {"payload": {"key": key}})
            while wire.call("GET", f"/v1/runs/{run['id']}")["status"] != "waiting":
                time.sleep(0.002)
            time.sleep(0.005)
            began = time.perf_counter()
            wire.call("POST", f"/v1/events/{key}/send", {"payload": {"approved": True}})
            took.append((heard.get(timeout=10) - began) * 1000)
    wire.close()
    return took


def one_run(setting: Setting) -> None:
    """Triggered to dispatched, sent to resumed, one after the other beside the waits of the big database."""
    dispatched: list[float] = []
    pushed: list[float] = []
    fetched: list[float] = []
    for _ in range(setting.runs):
        with setting.server(setting.big, allow=HOST) as server:
            first, second = _by_push(server)
            dispatched += first
            pushed += second
            fetched += _by_worker(server)
    for what, times, (p50_most, p99_most) in (
        ("run triggered to dispatched to an endpoint", dispatched, (5, 15)),
        ("send to resumed by a worker", fetched, setting.of((5, 15), (10, 30))),
        ("send to resumed by push", pushed, (10, 30)),
    ):
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        setting.add(
            f"{what}, p50 / p99, idle",
            f"<= {p50_most} / {p99_most} ms",
            f"{figure(p50)} / {figure(p99)} ms",
            p50 <= p50_most and p99 <= p99_most,
            f"client; {len(times)} runs",
        )


# ---- many ----------------------------------------------------------------------------------------


def through_worker(setting: Setting) -> None:
    """Runs a second through one worker, with a no-op handler and with one wait each; the ratio to the no-op."""
    backlog = prepare_runs.runs(setting.database, "queued", BACKLOG)
    for mode, what, least in (("noop", "a no-op handler", 1_500), ("wait", "one wait each", 600)):
        rates, ratios, used = [], [], []
        for _ in range(setting.runs):
            with setting.server(backlog) as server:
                noop = load.run(server, API_KEY, "noop", secs=setting.secs)
                found, cpu = _work(server, mode, setting.secs)
            rates.append(found["per_sec"])
            ratios.append(found["per_sec"] / noop.per_sec)
            used.append((found["cpu"], cpu))
        rate = spread(rates)
        worker_cpu, server_cpu = used[len(used) // 2]
        setting.add(
            f"runs through a worker with {what}",
            f">= {least:,}/s",
            f"{rate}/s",
            rate.median >= least,
            f"{spread(ratios)} of the no-op; the worker used {worker_cpu:.0%} of a core,"
            f" the server {server_cpu:.0%}",
        )


def _work(server: Server, mode: str, secs: int) -> tuple[dict[str, float], float]:
    """What a worker in a process of its own tells, and what share of a core the server used meanwhile."""
    url = f"http://{HOST}:{server.port}"
    command = [sys.executable, "-m", "benchmarks.workers", url, mode, str(secs)]
    before, began = server.cpu_secs(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    cpu = (server.cpu_secs() - before) / (time.perf_counter() - began)
    found: dict[str, float] = json.loads(done.stdout)
    return found, cpu


def waiting_runs(setting: Setting) -> None:
    """What a crowd of waiting runs costs an idle server."""
    crowd, cpu, memory = prepare_runs.runs(setting.database, "waiting", WAITING), [], []
    for _ in range(setting.runs):
        with setting.server(crowd) as server:
            time.sleep(2)
            before = server.cpu_secs()
            time.sleep(5)
            cpu.append((server.cpu_secs() - before) / 5 * 100)
            memory.append(server.memory_bytes() / 1e6)
    what = f"idle with {WAITING:,} waiting runs: CPU / memory"
    setting.add(what, "", f"{spread(cpu)} % / {spread(memory)} MB")


def claims(setting: Setting) -> None:
    """Claims of one run, one after the other, from a long queue."""
    queue_of_runs, times = prepare_runs.runs(setting.database, "queued", setting.rows), []
    body: dict[str, Any] = {"jobs": [JOB], "limit": 1, "wait_secs": 0}
    for _ in range(setting.runs):
        with setting.server(queue_of_runs) as server:
            clients.milliseconds(server.port, "POST", "/v1/workers/claim", 20, body)
            times += clients.milliseconds(server.port, "POST", "/v1/workers/claim", 300, body)
    setting.database.forget(queue_of_runs)
    p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
    setting.add(
        f"a claim with {setting.rows:,} queued runs, p99",
        "<= 10 ms",
        f"{figure(p99)} ms",
        p99 <= 10,
        f"client; p50 {figure(p50)} ms, {len(times)} claims",
    )
