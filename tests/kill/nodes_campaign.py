"""What dies when several nodes serve one PostgreSQL: a node by SIGKILL, the database by an immediate crash,
its primary for good so that the standby takes over. Clients ask any node meanwhile; the ledger outside of them
all holds every answer, and in the end the database must agree."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.forked import run_forked
from tests.kill.campaign import CLIENTS, UNSURE, Load, Report, Server
from tests.kill.ledger import Ledger, violations
from tests.postgres.binaries import wheel
from tests.postgres.cluster import Cluster
from tests.postgres.standby import Standby

NODES = 2
PATIENCE_SECS = 60.0
#: The database ends a transaction that stands still for 10 s.
PAUSE_SECS = 11.0


class ToAny(Load):
    """Each request goes to any of the nodes."""

    def __init__(self, nodes: list[Server], ledger: Ledger, dice: random.Random) -> None:
        super().__init__(nodes[0].port, ledger, dice)
        others = (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{node.port}", timeout=60, verify=False)
            for node in nodes[1:]
        )
        self._each = [self.http, *others]

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        self.http = self.dice.choice(self._each)
        reply = await super().ask(method, path, body, headers)
        if reply is not None and reply.status_code in UNSURE:
            self.ledger.counts[f"answered {reply.status_code}"] += 1
            await asyncio.sleep(0.02)
        return reply

    async def close(self) -> None:
        for each in self._each:
            await each.aclose()


class Scene:
    """The nodes, their database, and the clients."""

    def __init__(self, folder: Path, seed: int, url: str, nodes: int = NODES) -> None:
        self.dice = random.Random(seed)
        self.ledger = Ledger()
        self.folder = folder
        self.nodes = [Server(folder, url) for _ in range(nodes)]
        self.load = ToAny(self.nodes, self.ledger, self.dice)
        self.recovered_secs: list[float] = []
        self._clients: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        for node in self.nodes:  # one after the other: the first one makes the schema and the secret key
            await node.start()
        self._clients = [asyncio.create_task(self.load.client()) for _ in range(CLIENTS)]

    async def for_a_while(self, least: float = 0.05, most: float = 0.6) -> None:
        """Let the clients work. Raises what one of them found."""
        done, _ = await asyncio.wait(
            self._clients, timeout=self.dice.uniform(least, most), return_when="FIRST_EXCEPTION"
        )
        for task in done:
            task.result()

    async def until_acknowledged(self, since: float) -> None:
        """Until a send is acknowledged that began after this; notes how long it took since `since`."""
        before = self.ledger.counts["acknowledged"]
        while self.ledger.counts["acknowledged"] < before + CLIENTS:
            await self.for_a_while(0.005, 0.01)
            if time.monotonic() - since > PATIENCE_SECS:
                raise TimeoutError((self.folder / "log").read_text()[-4000:])
        self.recovered_secs.append(time.monotonic() - since)

    async def end(self, faults: int, url: str) -> Report:
        """Stop the clients, compare, stop the nodes."""
        self.load.done = True
        await asyncio.gather(*self._clients)
        stored = await self.load.stored()
        await self.load.close()
        found = violations(self.ledger, stored)
        for node in self.nodes:
            if (stopped := await node.stop(signal.SIGTERM)) != 0:
                found.append(f"a node ended with {stopped} on SIGTERM")
        if fault := await asyncio.to_thread(verified, url):
            found.append(f"P11: narrows verify: {fault}")
        return Report(faults, dict(self.ledger.counts), found, self.recovered_secs)

    def kill_all(self) -> None:
        """Whatever went wrong, no node is left behind."""
        for node in self.nodes:
            if node.process is not None and node.process.returncode is None:
                node.process.kill()


def verified(url: str) -> str:
    environment = {**os.environ, "NARROWS_DATABASE": url}
    ended = run_forked(["-m", "narrows", "verify"], Path.cwd(), environment, "", PATIENCE_SECS)
    return "" if ended.returncode == 0 else ended.stderr or ended.stdout or "failed"


async def _over(
    folder: Path, url: str, seed: int, times: int, fault: Callable[[Scene], Awaitable[None]], nodes: int
) -> Report:
    scene = Scene(folder, seed, url, nodes)
    try:
        await scene.begin()
        for _ in range(times):
            await scene.for_a_while()
            await fault(scene)
        return await scene.end(times, url)
    finally:
        scene.kill_all()


async def kill_nodes(folder: Path, kills: int, seed: int, nodes: int = NODES) -> Report:
    """SIGKILL of one node or the other; the rest carries on."""

    async def kill(scene: Scene) -> None:
        node = scene.dice.choice(scene.nodes)
        await node.stop(signal.SIGKILL)
        await scene.until_acknowledged(time.monotonic())  # by those that are left
        await node.start()

    with contextlib.closing(await asyncio.to_thread(Cluster, wheel())) as cluster:
        return await _over(folder, cluster.create_database(), seed, kills, kill, nodes)


async def pause_nodes(folder: Path, pauses: int, seed: int, nodes: int = NODES) -> Report:
    """SIGSTOP for longer than the database waits for an open transaction, and than the node's lease; then
    it goes on as if nothing had been."""

    async def pause(scene: Scene) -> None:
        node = scene.dice.choice(scene.nodes)
        assert node.process is not None
        node.process.send_signal(signal.SIGSTOP)
        await scene.for_a_while(PAUSE_SECS, PAUSE_SECS + 1)
        node.process.send_signal(signal.SIGCONT)
        await scene.until_acknowledged(time.monotonic())

    with contextlib.closing(await asyncio.to_thread(Cluster, wheel())) as cluster:
        return await _over(folder, cluster.create_database(), seed, pauses, pause, nodes)


async def crash_database(folder: Path, crashes: int, seed: int, nodes: int = NODES) -> Report:
    """`-m immediate`: the database recovers from its log, and the nodes find it again by themselves."""
    with contextlib.closing(await asyncio.to_thread(lambda: Cluster(wheel(), durable=True))) as cluster:

        async def crash(scene: Scene) -> None:
            await asyncio.to_thread(cluster.crash)
            await scene.for_a_while(0.0, 0.2)
            await asyncio.to_thread(cluster.start)
            await scene.until_acknowledged(time.monotonic())

        return await _over(folder, cluster.create_database(), seed, crashes, crash, nodes)


async def promote_standby(folder: Path, promotions: int, seed: int, nodes: int = NODES) -> Report:
    """The primary is gone and its synchronous standby takes over. The nodes know both, and find the one
    that takes writes; then they are told of the next standby, and start again."""
    primary = await asyncio.to_thread(lambda: Cluster(wheel(), durable=True, tcp=True))
    database = primary.create_database().rpartition("/")[2]
    standby = await asyncio.to_thread(Standby, primary)
    scene = Scene(folder, seed, standby.either(database), nodes)
    try:
        await scene.begin()
        for _ in range(promotions):
            await scene.for_a_while()
            await asyncio.to_thread(primary.crash)
            await scene.for_a_while(0.0, 0.1)
            began = time.monotonic()
            await asyncio.to_thread(standby.promote)
            await scene.until_acknowledged(began)
            await asyncio.to_thread(primary.close)
            primary, standby = standby, await asyncio.to_thread(Standby, standby)
            for node in scene.nodes:
                await node.stop(signal.SIGTERM)
                node.database = standby.either(database)
                await node.start()
        return await scene.end(promotions, standby.either(database))
    finally:
        scene.kill_all()
        standby.close()
        primary.close()
