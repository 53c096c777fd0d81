"""A node as a process of its own, asked over HTTP through the socket in its data folder, which also reaches it where its
network is another; and what its clients do while its database is out of reach."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx2

from tests.storage.kit import PROJECT, Bench
from tests.storage.nodes.kit import until

PATIENCE_SECS = 60.0
CLIENTS = 4
KEYS = 40
WATCHED = "watched"


@contextlib.asynccontextmanager
async def served(
    folder: Path, database: str, command: Sequence[str] = ()
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a node over this database. `command` goes before its own."""
    data = folder / "data"
    arguments = [*command, sys.executable, "-m", "narrows", "dev", "--data", str(data), "--port", "0"]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *arguments, "--database", database, stdout=log, stderr=log,
            env={**os.environ, "NARROWS_LOG_LEVEL": "warning"},
        )  # fmt: skip
    way = httpx2.AsyncHTTPTransport(uds=str(data / "narrows.sock"), verify=False)
    try:
        async with httpx2.AsyncClient(
            transport=way, base_url="http://localhost", headers={"X-Project-Id": PROJECT}, timeout=60
        ) as http:
            await ready(http, lambda: _assert_lives(process, folder))
            yield http
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0, (folder / "log").read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _assert_lives(process: asyncio.subprocess.Process, folder: Path) -> None:
    assert process.returncode is None, (folder / "log").read_text()


async def ready(http: httpx2.AsyncClient, assert_lives: Callable[[], None] = lambda: None) -> None:
    """Wait until the node calls itself ready: each of its roles has to find the database by itself, after a pause."""
    reason: object = None
    try:
        async with asyncio.timeout(PATIENCE_SECS):
            while True:
                assert_lives()
                try:
                    reply = await http.get("/readyz")
                except httpx2.TransportError as error:
                    reason = error
                else:
                    if reply.status_code == 200:
                        return
                    reason = reply.text
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it never got ready: {reason}") from None


class Clients:
    """Some that send, again and again until it is acknowledged, and one that watches."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._keys = iter(range(KEYS))
        #: What was acknowledged, by key.
        self.acknowledged: dict[str, str] = {}
        #: Answers that say "later", with and without the time when.
        self.refused: Counter[bool] = Counter()
        self.seen: list[str] = []

    async def open(self) -> None:
        for key in (WATCHED, *(f"k{number}" for number in range(KEYS))):
            (
                await self._http.post("/v1/events", json={"event_key": key, "timeout_secs": 0})
            ).raise_for_status()

    async def send(self) -> None:
        for number in self._keys:
            payload = f"payload {number}"
            while (reply := await self._send(f"k{number}", payload)).status_code != 200:
                assert reply.status_code in (503, 504), reply.text
                self.refused["retry-after" in reply.headers] += 1
                await asyncio.sleep(0.1)
            self.acknowledged[f"k{number}"] = json.dumps(payload)
            await asyncio.sleep(0.02)

    async def _send(self, key: str, payload: str) -> httpx2.Response:
        return await self._http.post(f"/v1/events/{key}/send", json={"payload": payload})

    async def watch(self) -> None:
        """Until the stream ends, as it does after the event."""
        async with self._http.stream("GET", f"/v1/events/{WATCHED}/stream") as reply:
            assert reply.status_code == 200
            async for line in reply.aiter_lines():
                if line.startswith("data:"):
                    self.seen.append(json.loads(line[5:])["status"])


async def out_of_reach_and_back(
    http: httpx2.AsyncClient, other: Bench, cut: Callable[[], None], heal: Callable[[], None]
) -> None:
    """What must be so of a node that is cut off from its database while its clients are at it. `other` is another node."""
    clients = Clients(http)
    await clients.open()
    async with asyncio.timeout(PATIENCE_SECS), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(clients.watch())
        await until(lambda: clients.seen == ["waiting"])
        sending = [tasks.create_task(clients.send()) for _ in range(CLIENTS)]
        await until(lambda: clients.acknowledged)
        cut()
        await until(lambda: clients.refused[True], patience_secs=PATIENCE_SECS)
        assert len(clients.acknowledged) < KEYS
        red = await http.get("/readyz")
        assert (red.status_code, red.headers["retry-after"]) == (503, "1")
        await other.send(WATCHED, '"from elsewhere"')
        assert not watching.done()
        assert clients.seen == ["waiting"]
        heal()
        await asyncio.gather(watching, *sending)
    assert clients.seen == ["waiting", "received"]
    await ready(http)
    assert len(clients.acknowledged) == KEYS
    for key, payload in clients.acknowledged.items():
        assert (await other.get(key)).response_payload == payload
