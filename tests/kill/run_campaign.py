"""SIGKILL with runs: server, worker and endpoint are killed again and again, one after the other, while
clients trigger runs, send their events and cancel some; in the end every run has gone on exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
from pathlib import Path
from typing import Any

from tests.forked import Forked
from tests.kill.campaign import Load, Report, Server, verified
from tests.kill.executors import PUSHED, TOKENS, WORKED
from tests.kill.run_ledger import Run, RunLedger, Stored, violations

CLIENTS = 8
#: So short that a run whose executor was killed is tried again soon; the default lease is a minute.
JOB = {"timeout_secs": 2, "max_attempts": 20}
#: From the last kill until every run has ended, pauses between attempts included.
ENDED_SECS = 60
LATE_ANSWERS = 200


class Executor:
    """A worker, or the endpoint of a job: a process of its own, killed and started again."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        self.process: Forked | None = None

    async def start(self) -> None:
        with (self.folder / f"{self.arguments[0]}.log").open("ab") as log:
            self.process = Forked(
                ["-m", "tests.kill.executors", *self.arguments], stdout=log, stderr=log, cwd=self.folder
            )

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is not None:
            said = (self.folder / f"{self.arguments[0]}.log").read_text()
            raise RuntimeError(f"the {self.arguments[0]} has ended by itself: {said[-4_000:]}")
        self.process.send_signal(signal.SIGKILL)
        await self.process.ended()


class RunLoad(Load):
    """Clients that trigger runs and answer what those wait for."""

    ledger: RunLedger  # type: ignore[assignment]  # it counts as the other does; that is all `ask` needs

    async def insist(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask until the server answers for good: it may die any number of times in between."""
        while True:
            reply = await self.ask(method, path, body, headers)
            if reply is not None and reply.status_code < 500 and reply.status_code != 429:
                return reply

    async def client(self) -> None:
        while not self.done:
            await self.run_story(self.dice.random())

    async def run_story(self, roll: float) -> None:
        number = self.next_number()
        job = WORKED if number % 2 else PUSHED
        path, key = f"/v1/jobs/{job}/trigger", f"trigger:{number}"
        body = {"payload": {"n": number}}
        reply = await self.insist("POST", path, body, **{"Idempotency-Key": key})
        run = self.ledger.triggered(reply.json()["id"], f"run:{number}")
        if roll < 0.2:
            again = await self.insist("POST", path, body, **{"Idempotency-Key": key})
            if again.json()["id"] != run.id:
                self.ledger.faults.append(f"P5: a repeated trigger of {run.id} made {again.json()['id']}")
        if roll > 0.9:
            await self.cancel_run(run)
        else:
            await self.send_event(run, {"n": number, "text": "x" * self.dice.choice((3, 3, 2_000))})

    async def cancel_run(self, run: Run) -> None:
        run.may_cancel = True
        reply = await self.ask("DELETE", f"/v1/runs/{run.id}")
        if reply is not None and reply.status_code == 200:
            run.canceled = reply.json()["status"] == "canceled"
            self.ledger.counts["canceled"] += run.canceled
        if not run.canceled:
            await self.send_event(run, {"after": "cancel"})

    async def send_event(self, run: Run, payload: Any) -> None:
        """As soon as the run waits: until it is acknowledged, or the run ended without it."""
        while True:
            reply = await self.insist("POST", f"/v1/events/{run.event_key}/send", {"payload": payload})
            if reply.status_code == 200:
                run.sent = payload
                self.ledger.counts["acknowledged"] += 1
                return
            state = (await self.insist("GET", f"/v1/runs/{run.id}")).json()["status"]
            if state not in ("queued", "delayed", "executing", "waiting"):
                return  # canceled, or it ended in a way that the ledger will not accept
            await asyncio.sleep(0.01)

    async def ended(self) -> dict[str, Stored]:
        """All runs of the store, once each of the ledger's has ended or the time for it is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDED_SECS):
                for run_id in self.ledger.runs:
                    while (await self.insist("GET", f"/v1/runs/{run_id}")).json().get("finished_at") is None:
                        await asyncio.sleep(0.05)
        found, cursor = {}, ""
        while True:
            page = (await self.insist("GET", f"/v1/runs?limit=100{cursor}")).json()
            for run in page["data"]:
                facts = (await self.insist("GET", f"/v1/runs/{run['id']}/events?limit=100")).json()["data"]
                whole = (await self.insist("GET", f"/v1/runs/{run['id']}")).json()
                found[run["id"]] = Stored(whole, [fact["kind"] for fact in facts])
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def answer_late(self, tokens: list[str]) -> None:
        """The tokens of dispatches that are over: whoever holds one can change nothing."""
        for line in tokens:
            run_id, token = line.split()
            reply = await self.insist(
                "POST", f"/sdk/v1/runs/{run_id}/complete", {"result": "late"}, Authorization=f"Bearer {token}"
            )
            self.ledger.counts["late answers refused"] += reply.status_code in (409, 410)
            if reply.status_code not in (409, 410):
                self.ledger.faults.append(f"P3: a late answer to {run_id} got {reply.status_code}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def run(folder: Path, kills: int, seed: int) -> Report:
    """Kill the server `kills` times, and as often a worker or the endpoint; then compare."""
    dice = random.Random(seed)
    server, ledger, port = Server(folder), RunLedger(), _free_port()
    url = f"http://127.0.0.1:{server.port}"
    executors = [Executor(folder, "worker", url), Executor(folder, "endpoint", url, str(port))]
    await server.start()
    load = RunLoad(server.port, ledger, dice)  # type: ignore[arg-type]  # as above
    for body in ({"slug": WORKED}, {"slug": PUSHED, "endpoint_url": f"http://127.0.0.1:{port}/"}):
        reply = await load.insist("POST", "/v1/jobs", JOB | body)
        assert reply.status_code == 201, reply.text
    for executor in executors:
        await executor.start()
    clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
    restarts = []
    for number in range(kills):
        await _pause(clients, dice)
        await server.stop(signal.SIGKILL)
        restarts.append(await server.start())
        await _pause(clients, dice)
        await executors[number % 2].kill()
        await executors[number % 2].start()
    load.done = True
    await asyncio.gather(*clients)
    stored = await load.ended()
    tokens = (folder / TOKENS).read_text().splitlines()
    await load.answer_late(dice.sample(tokens, min(LATE_ANSWERS, len(tokens))))
    await load.http.aclose()
    for executor in executors:
        await executor.kill()
    stopped = await server.stop(signal.SIGTERM)
    found = violations(ledger, stored)
    if stopped != 0:
        found.append(f"the server ended with {stopped} on SIGTERM")
    if fault := await asyncio.to_thread(verified, folder / "data"):
        found.append(f"P11: narrows verify: {fault}")
    return Report(2 * kills, dict(ledger.counts), found, restarts)


async def _pause(clients: list[asyncio.Task[None]], dice: random.Random) -> None:
    """Until the next kill; a client that failed ends the campaign at once."""
    done, _pending = await asyncio.wait(
        clients, timeout=dice.uniform(0.05, 0.6), return_when="FIRST_EXCEPTION"
    )
    for task in done:
        task.result()
