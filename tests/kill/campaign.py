"""SIGKILL under load: a real server is killed again and again while clients open, send, cancel and
wait over HTTP; a ledger outside of it holds every answer, and in the end the store must agree."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from tests.forked import Forked, run_forked
from tests.kill.ledger import Ledger, Wait, violations

CLIENTS = 12
PROGRESS_SECS = 60.0
LOST = (httpx2.TransportError,)
#: Not done, or nobody knows: the caller asks again.
UNSURE = (503, 504)


class Report(NamedTuple):
    kills: int
    counts: dict[str, int]
    violations: list[str]
    restart_secs: list[float]


class Server:
    """`narrows dev` on one port and folder, killed and started again."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        """With `database` it is one of several nodes, which have a folder in common."""
        self.folder = folder
        self.database = database
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: Forked | None = None

    async def start(self) -> float:
        """Start and wait for the first answer; answers after how many seconds it came."""
        began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self.process = Forked(
                [
                    "-m", "narrows", "dev", "--port", str(self.port), "--data", str(self.folder / "data"),
                    *(() if self.database is None else ("--database", self.database)),
                ],
                stdout=log, stderr=log, env={**os.environ, "NARROWS_LOG_LEVEL": "warning"},
            )  # fmt: skip
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", verify=False) as http:
            while True:
                try:
                    if (await http.get("/readyz")).status_code == 200:
                        return time.monotonic() - began
                except LOST:
                    if self.process.returncode is not None:
                        raise RuntimeError((self.folder / "log").read_text()) from None
                    await asyncio.sleep(0.01)

    async def stop(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return await self.process.ended()


class Load:
    """Clients that never retry by themselves, so that they know what each answer was."""

    def __init__(self, port: int, ledger: Ledger, dice: random.Random) -> None:
        self.ledger = ledger
        self.dice = dice
        self.done = False
        self.http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=False)
        self._number = 0

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """The reply, or None where the connection broke and nobody knows."""
        try:
            reply = await self.http.request(method, path, json=body, headers=headers)
        except LOST:
            self.ledger.counts["broken"] += 1
            await asyncio.sleep(0.01)
            return None
        if reply.status_code >= 500 and reply.status_code not in UNSURE:
            raise AssertionError(f"{method} {path}: {reply.status_code} {reply.text}")
        return reply

    def next_number(self) -> int:
        self._number += 1
        return self._number

    async def client(self) -> None:
        while not self.done:
            roll = self.dice.random()
            if roll < 0.08:
                await self.prefix_story()
            else:
                await self.story(roll)

    async def story(self, roll: float) -> None:
        """Open a wait; somebody waits for it; send, send again, cancel or let it time out."""
        number = self.next_number()
        held = roll > 0.9
        payload = {"n": number, "text": "x" * self.dice.choice((3, 3, 3, 2_000))}
        key = f"story:{number}"
        if held:
            reply = await self.ask(
                "POST", f"/v1/events/{key}/send", {"payload": payload, "hold_secs": 600, "event_id": key}
            )
            if reply is None or reply.status_code != 202:
                return
        timeout_secs = 1 if 0.8 < roll < 0.9 else 600
        body = {"event_key": key, "timeout_secs": timeout_secs, "if_waiting": "join"}
        reply = await self.ask("POST", "/v1/events", body)
        if reply is None or reply.status_code not in (200, 201):
            return
        wait = self.ledger.opened(reply.json())
        if held:
            wait.attempted.append(payload)
            wait.acknowledged.append(payload)
            return
        waiter = asyncio.create_task(self.wait(wait)) if roll < 0.4 else None
        if roll < 0.7:
            await self.send(wait, payload)
        elif roll < 0.8:
            await self.cancel(wait)
        if waiter is not None:
            await waiter

    async def send(self, wait: Wait, payload: Any) -> None:
        """Send until it is acknowledged; in between the server may die any number of times."""
        wait.attempted.append(payload)
        while not self.done:
            reply = await self.ask("POST", f"/v1/events/{wait.event_key}/send", {"payload": payload})
            if reply is not None and reply.status_code == 200:
                self.ledger.counts["acknowledged"] += 1
                wait.acknowledged.append(payload)
                self.ledger.saw(reply.json())
                return await self.repeat(wait, payload)
            if reply is not None and reply.status_code not in UNSURE:
                raise AssertionError(f"{wait.id}: {reply.text}")
        return None

    async def repeat(self, wait: Wait, payload: Any) -> None:
        """P5: an equal payload is 200 and changes nothing, another one is 409."""
        reply = await self.ask("POST", f"/v1/triggers/{wait.id}/send", {"payload": payload})
        if reply is not None and reply.status_code not in UNSURE:
            assert reply.status_code == 200, reply.text
            self.ledger.saw(reply.json())
        reply = await self.ask("POST", f"/v1/triggers/{wait.id}/send", {"payload": {"other": True}})
        if reply is not None and reply.status_code not in UNSURE:
            assert reply.status_code == 409, reply.text

    async def cancel(self, wait: Wait) -> None:
        wait.may_cancel = True
        reply = await self.ask("DELETE", f"/v1/triggers/{wait.id}")
        if reply is not None and reply.status_code == 200:
            wait.canceled = True
            self.ledger.saw(reply.json())

    async def wait(self, wait: Wait) -> None:
        """P8: whoever waits by id sees the end, however often the server goes away."""
        while not self.done:
            reply = await self.ask("GET", f"/v1/triggers/{wait.id}/wait?timeout_secs=2")
            if reply is not None and reply.status_code == 200 and reply.json()["status"] != "waiting":
                self.ledger.saw(reply.json())
                self.ledger.counts["resumed"] += 1
                return

    async def prefix_story(self) -> None:
        number = self.next_number()
        prefix, payload = f"batch-{number}:", {"prefix": number}
        for member in range(5):
            event_key = f"{prefix}{member}"
            reply = await self.ask("POST", "/v1/events", {"event_key": event_key, "timeout_secs": 600})
            if reply is not None and reply.status_code == 201:
                self.ledger.opened(reply.json()).attempted.append(payload)
            else:
                # The node was killed between commit and answer, perhaps: another one then finds the wait.
                self.ledger.unsure_keys.append(event_key)
        reply = await self.ask("POST", f"/v1/events/prefix/{prefix}/send", {"payload": payload})
        if reply is not None and reply.status_code == 200:
            self.ledger.counts["prefix sends"] += 1
            self.ledger.prefix_resolved[repr(payload)] = reply.json()["resolved"]

    async def stored(self) -> dict[str, dict[str, Any]]:
        paths = [f"/v1/triggers/{trigger_id}" for trigger_id in self.ledger.waits]
        paths += [f"/v1/events/{event_key}" for event_key in self.ledger.unsure_keys]
        found = {}
        for path in paths:
            reply = None
            while reply is None or reply.status_code in UNSURE:
                reply = await self.ask("GET", path)
            if reply.status_code == 200:
                trigger = reply.json()
                found[trigger["id"]] = trigger
        return found


async def run(folder: Path, kills: int, seed: int) -> Report:
    """Kill the server `kills` times at random moments under load; then compare."""
    dice = random.Random(seed)
    server, ledger = Server(folder), Ledger()
    await server.start()
    load = Load(server.port, ledger, dice)
    clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
    restarts = []
    for number in range(kills):
        await progress(ledger, clients, 10 * number)
        done, _pending = await asyncio.wait(
            clients, timeout=dice.uniform(0.05, 0.6), return_when="FIRST_EXCEPTION"
        )
        for task in done:
            task.result()
        await server.stop(signal.SIGKILL)
        restarts.append(await server.start())
    await progress(ledger, clients, 10 * kills)
    load.done = True
    await asyncio.gather(*clients)
    stored = await load.stored()
    await load.http.aclose()
    stopped = await server.stop(signal.SIGTERM)
    found = violations(ledger, stored)
    if stopped != 0:
        found.append(f"the server ended with {stopped} on SIGTERM")
    if fault := await asyncio.to_thread(verified, folder / "data"):
        found.append(f"P11: narrows verify: {fault}")
    return Report(kills, dict(ledger.counts), found, restarts)


async def progress(ledger: Any, clients: list[asyncio.Task[None]], acknowledged: int) -> None:
    """Until more events than that were acknowledged: on a busy machine the kills would come so close that nothing
    happens between them. A client that failed ends the campaign at once."""
    async with asyncio.timeout(PROGRESS_SECS):
        while ledger.counts["acknowledged"] <= acknowledged:
            done, _ = await asyncio.wait(clients, timeout=0.05, return_when="FIRST_EXCEPTION")
            for task in done:
                task.result()


def verified(data: Path) -> str:
    command = ["-m", "narrows", "verify", "--data", str(data)]
    ended = run_forked(command, data.parent, os.environ, "", PROGRESS_SECS)
    return "" if ended.returncode == 0 else ended.stderr or ended.stdout or "failed"
