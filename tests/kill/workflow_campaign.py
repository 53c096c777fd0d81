"""SIGKILL with workflows: servers and workers are killed again and again while clients start workflows of a job, a wait and
a job, some of them as sub-workflows, send their events early or late, and cancel some. Over SQLite, or with several nodes
over one PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.kill import nodes_campaign
from tests.kill.campaign import Report, Server, progress, verified
from tests.kill.executors import EFFECTS, FINISH, PREPARE
from tests.kill.nodes_campaign import ToAny
from tests.kill.run_campaign import JOB, Executor, RunLoad, _pause
from tests.kill.workflow_ledger import Effect, Flow, Stored, WorkflowLedger, violations
from tests.postgres.binaries import wheel
from tests.postgres.cluster import Cluster

CLIENTS = 6
#: From the last kill until every workflow run has ended, pauses between attempts included.
ENDED_SECS = 90
FLOW = {
    "slug": "flow",
    "steps": [
        {"step_ref": "prepare", "job_slug": PREPARE},
        {
            "step_ref": "answer", "type": "wait_for_event", "depends_on": ["prepare"],
            "event_key": "answer:{{payload.n}}", "timeout_secs": 600,
        },
        {
            "step_ref": "finish", "job_slug": FINISH, "depends_on": ["answer"],
            "condition": "outputs.answer.n >= 0", "payload": {"answer": "{{parent_outputs.answer}}"},
        },
    ],
}  # fmt: skip
#: The same as a sub-workflow, whose end is told to another step by an event.
PARENT = {
    "slug": "parent",
    "steps": [
        {
            "step_ref": "sub", "type": "sub_workflow", "workflow_slug": "flow", "payload": {"n": "{{payload.n}}"},
            "event_emit_key": "ended:{{payload.n}}",
        },
        {"step_ref": "hear", "type": "wait_for_event", "event_key": "ended:{{payload.n}}", "timeout_secs": 600},
    ],
}  # fmt: skip
#: One in so many is canceled, also where few are started.
CANCELED_EACH = 5
LIVE = ("running", "paused")


class WorkflowLoad(ToAny, RunLoad):
    """Clients that start workflows and send what those wait for, to any of the servers."""

    ledger: WorkflowLedger  # type: ignore[assignment]  # it counts as the others do; that is all `ask` needs

    async def run_story(self, roll: float) -> None:
        number = self.next_number()
        payload = {"n": number, "text": "x" * self.dice.choice((3, 3, 3, 2_000))}
        is_early = 0.5 < roll < 0.6
        if is_early:
            event = {"payload": payload, "hold_secs": 600, "event_id": f"answer:{number}"}
            await self.insist("POST", f"/v1/events/answer:{number}/send", event)
        slug = "parent" if number % 3 == 0 else "flow"
        path, key = f"/v1/workflows/{slug}/trigger", f"start:{number}"
        body = {"payload": {"n": number}}
        reply = await self.insist("POST", path, body, **{"Idempotency-Key": key})
        assert reply.status_code == 201, reply.text
        flow = self.ledger.started(reply.json()["id"], number)
        if roll < 0.2:
            again = await self.insist("POST", path, body, **{"Idempotency-Key": key})
            if again.json()["id"] != flow.id:
                self.ledger.faults.append(f"P5: a repeated start of {flow.id} made {again.json()['id']}")
        if is_early:
            flow.attempted, flow.acknowledged = [payload], payload
        elif number % CANCELED_EACH == 0:
            await self._cancel(flow)
        if not flow.canceled and not is_early:
            await self._send(flow, payload)

    async def _cancel(self, flow: Flow) -> None:
        await asyncio.sleep(self.dice.choice((0.0, 0.02, 0.2)))
        flow.may_cancel = True
        path = f"/v1/workflow-runs/{flow.id}"
        reply = await self.insist("DELETE", path)
        # Refused, where it was done and the server was killed before it could answer.
        if reply.status_code == 200 or (await self.insist("GET", path)).json()["status"] == "canceled":
            flow.canceled = True
            self.ledger.counts["canceled"] += 1

    async def _send(self, flow: Flow, payload: Any) -> None:
        """As soon as it waits: until it is acknowledged, or the workflow run has ended without it."""
        flow.attempted.append(payload)
        while True:
            reply = await self.insist("POST", f"/v1/events/answer:{flow.number}/send", {"payload": payload})
            if reply.status_code == 200:
                flow.acknowledged = payload
                self.ledger.counts["acknowledged"] += 1
                return
            found = await self.insist("GET", f"/v1/workflow-runs/{flow.id}")
            if found.json()["status"] not in LIVE:
                return
            await asyncio.sleep(0.02)

    async def everything(self) -> dict[str, Stored]:
        """All workflow runs of the store, once each of the ledger's has ended or the time for it is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDED_SECS):
                for run_id in self.ledger.flows:
                    while (await self._get(f"/{run_id}"))["status"] in LIVE:
                        await asyncio.sleep(0.05)
                while (await self._get("?status=running&limit=1"))["data"]:  # a canceled one's sub-workflow
                    await asyncio.sleep(0.05)
        found: dict[str, Stored] = {}
        cursor = ""
        while True:
            page = await self._get(f"?limit=100{cursor}")
            for run in page["data"]:
                steps = (await self._get(f"/{run['id']}/steps"))["data"]
                facts = (await self._get(f"/{run['id']}/timeline?limit=100"))["data"]
                found[run["id"]] = Stored(
                    run,
                    {step["step_ref"]: step for step in steps},
                    [(fact["kind"], fact.get("step_ref")) for fact in facts],
                )
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def _get(self, path: str) -> Any:
        return (await self.insist("GET", f"/v1/workflow-runs{path}")).json()


async def run(folder: Path, kills: int, seed: int) -> Report:
    """The one server of a SQLite database, killed `kills` times, and as often one of two workers."""
    return await _run(folder, [Server(folder)], kills, seed, folder / "data")


async def run_nodes(folder: Path, kills: int, seed: int, nodes: int = 3) -> Report:
    """One of several nodes each time; the rest carries on."""
    with contextlib.closing(await asyncio.to_thread(Cluster, wheel())) as cluster:
        url = cluster.create_database()
        return await _run(folder, [Server(folder, url) for _ in range(nodes)], kills, seed, url)


async def _run(folder: Path, servers: list[Server], kills: int, seed: int, data: Path | str) -> Report:
    dice, ledger, restarts = random.Random(seed), WorkflowLedger(), list[float]()
    async with _begun(folder, servers) as workers:
        load = WorkflowLoad(servers, ledger, dice)  # type: ignore[arg-type]  # as above
        for slug in (PREPARE, FINISH):
            assert (await load.insist("POST", "/v1/jobs", JOB | {"slug": slug})).status_code == 201
        for definition in (FLOW, PARENT):
            reply = await load.insist("POST", "/v1/workflows", definition)
            assert reply.status_code == 201, reply.text
        for worker in workers:  # only now: of a job that is not there a worker gets 404, and ends
            await worker.start()
        clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
        for number in range(kills):
            await progress(ledger, clients, 2 * number)
            await _pause(clients, dice)
            server = dice.choice(servers)
            await server.stop(signal.SIGKILL)
            restarts.append(await server.start())
            await _pause(clients, dice)
            await workers[number % 2].kill()
            await workers[number % 2].start()
        await progress(ledger, clients, 2 * kills)
        load.done = True
        await asyncio.gather(*clients)
        stored = await load.everything()
        await load.close()
    effects = _effects(folder / EFFECTS)
    found = violations(ledger, stored, effects)
    stopped = [await server.stop(signal.SIGTERM) for server in servers]
    found += [f"a server ended with {code} on SIGTERM" for code in stopped if code != 0]
    if fault := await asyncio.to_thread(_verified, data):
        found.append(f"P11: narrows verify: {fault}")
    ledger.counts["effects"] = len(effects)
    return Report(2 * kills, dict(ledger.counts), found, restarts)


def _verified(data: Path | str) -> str:
    return verified(data) if isinstance(data, Path) else nodes_campaign.verified(data)


@contextlib.asynccontextmanager
async def _begun(folder: Path, servers: list[Server]) -> AsyncIterator[list[Executor]]:
    """The servers one after the other (the first one makes the schema and the secret key), and two workers that have
    not started. What goes wrong within leaves none of them behind."""
    urls = [f"http://127.0.0.1:{servers[number % len(servers)].port}" for number in range(2)]
    workers = [Executor(folder, "steps", url) for url in urls]
    is_well = False
    try:
        for server in servers:
            await server.start()
        yield workers
        is_well = True
    finally:
        for worker in workers:
            if worker.process is not None and worker.process.returncode is None:
                worker.process.kill()
                await worker.process.ended()
        for server in servers if not is_well else ():
            if server.process is not None and server.process.returncode is None:
                server.process.kill()


def _effects(path: Path) -> list[Effect]:
    """A worker that is killed may leave a line unfinished, the effect of which nobody has seen."""
    found = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(Effect(*json.loads(line)))
    return found
