"""A worker under load, in a process of its own, by the client that users have.

    python -m benchmarks.workers URL noop|wait SECS

It executes runs of the job `bench` for a second to warm up and for SECS to measure, and prints how many
it ended a second, and the share of a core that it used itself. With `wait` each run waits for an event,
which this process sends as soon as the wait is granted, and goes on with it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

import uvloop

from benchmarks.prepare import API_KEY
from benchmarks.prepare_runs import JOB
from narrows.client import AsyncClient, AsyncWorkerRun, RunSuspended, Worker

CONCURRENCY = 100
SENDERS = 32
WARM_SECS = 1.0


class Bench:
    """Counts the runs that end."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.ended = 0
        self._keys: asyncio.Queue[str] = asyncio.Queue()

    async def noop(self, run: AsyncWorkerRun) -> None:
        self.ended += 1

    async def wait(self, run: AsyncWorkerRun) -> None:
        if run.event is not None:
            self.ended += 1
            return
        key = f"bench:{run.id}"
        try:
            await run.wait_for_event(key)
        except RunSuspended:
            self._keys.put_nowait(key)
            raise

    async def send(self) -> None:
        while True:
            await self.client.send(await self._keys.get(), {"approved": True})


async def main(url: str, mode: str, secs: float) -> None:
    async with AsyncClient(url, api_key=API_KEY) as client:
        bench = Bench(client)
        worker = Worker(client, {JOB: getattr(bench, mode)}, concurrency=CONCURRENCY)
        working = asyncio.create_task(worker.run_async())
        senders = [asyncio.create_task(bench.send()) for _ in range(SENDERS if mode == "wait" else 0)]
        await asyncio.sleep(WARM_SECS)
        before, began, cpu = bench.ended, time.perf_counter(), _cpu_secs()
        await asyncio.sleep(secs)
        took = time.perf_counter() - began
        found = {"per_sec": (bench.ended - before) / took, "cpu": (_cpu_secs() - cpu) / took}
        worker.stop()
        worker.stop()
        await working
        for sender in senders:
            sender.cancel()
    print(json.dumps(found))


def _cpu_secs() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
