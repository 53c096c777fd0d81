"""The servers of a recording, each a process of its own: one on a database file, or several on one
PostgreSQL. They can be killed and started again while clients are at work."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.streams.live import Live

SQLITE = "sqlite"
#: Seconds between two kills.
KILL_SECS = (0.3, 1.5)


@contextmanager
def running(folder: Path, database: str = SQLITE, nodes: int = 1, before: str = "") -> Iterator[list[Live]]:
    """So many servers on the database: `sqlite` for a file of its own, or a `postgresql://` URL. `before` is
    Python that runs in each of them first."""
    options = {"log_level": "warning"}
    if database != SQLITE:
        options["database"] = database
    elif nodes != 1:
        raise ValueError("a SQLite database has one server")
    with ExitStack() as stack:
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
    """SIGKILL a server and start it again, over and over until canceled; then all are up. `killed` gets
    its address each time."""
    dice = random.Random(seed)
    while True:
        await asyncio.sleep(dice.uniform(*KILL_SECS))
        server = dice.choice(servers)
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
