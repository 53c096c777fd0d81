"""The servers of a recording, each a process of its own: one on a database file, or several on one
PostgreSQL. They can be killed and started again while clients are at work."""

from __future__ import annotations

import asyncio
import base64
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.postgres.cluster import drop_database, fresh_database
from tests.streams.live import Live

SQLITE, POSTGRES = "sqlite", "postgres"
#: How many servers a database has if nothing else is said.
NODES = {SQLITE: 1, POSTGRES: 3}
#: What all nodes of one database share.
SECRET_KEY = base64.b64encode(b"the same for all nodes of a test").decode()
#: For how many seconds a server lives.
KILL_SECS = (0.3, 1.5)


@contextmanager
def running(folder: Path, database: str = SQLITE, nodes: int = 1, before: str = "") -> Iterator[list[Live]]:
    """So many servers on the database: `sqlite` for a file of its own, `postgres` for a fresh database of the
    tests, or a `postgresql://` URL. `before` is Python that runs in each of them first."""
    if database == SQLITE and nodes != 1:
        raise ValueError("a SQLite database has one server")
    with ExitStack() as stack:
        options = {"log_level": "warning"}
        if database == POSTGRES:
            database = fresh_database()
            stack.callback(drop_database, database)
        if database != SQLITE:
            options |= {"database": database, "secret_key": SECRET_KEY}
        servers = []
        for number in range(nodes):
            own = folder / f"node-{number}"
            own.mkdir()
            server = Live(own, before=before, **options)
            # One that does not come up must not be left behind either.
            stack.push(server)
            server.start()
            servers.append(server)
        yield servers


async def kill_now_and_then(servers: list[Live], seed: int, killed: list[str]) -> None:
    """SIGKILL each server and start it again, over and over until canceled; then all are up. `killed` gets
    its address each time."""
    await asyncio.gather(
        *(_kill(server, random.Random(f"{seed} {server.url}"), killed) for server in servers)
    )


async def _kill(server: Live, dice: random.Random, killed: list[str]) -> None:
    while True:
        await asyncio.sleep(dice.uniform(*KILL_SECS))
        killed.append(server.url)
        restart = asyncio.create_task(asyncio.to_thread(_restart, server))
        try:
            await asyncio.shield(restart)
        except asyncio.CancelledError:
            await restart
            raise


def _restart(server: Live) -> None:
    server.stop(signal.SIGKILL)
    server.start()
