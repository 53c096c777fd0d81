"""The way to a server, found in this order: `--url` or NARROWS_URL; the local socket in the data
folder, if a server answers there; for the host's own commands the store itself, opened in this
process; http://localhost:8080. Not here: requests and retries (`narrows.client`)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from narrows import config
from narrows.cli.inputs import secret_from_file
from narrows.client import AsyncClient
from narrows.client.connection import DEFAULT_URL
from narrows.errors import Conflict

DEFAULT_PROJECT = "default"
#: A shell that waits for hours lives through a server that is away for long.
RECONNECT_SECS = 86_400.0
#: A person who named the wrong server wants to know soon.
RETRY_SECS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the command line said about the server."""

    url: str | None = None
    project: str | None = None
    data: Path | None = None
    api_key_file: Path | None = None

    @property
    def explicit_url(self) -> str | None:
        return self.url or os.environ.get("NARROWS_URL") or None

    @property
    def asked_project(self) -> str | None:
        return self.project or os.environ.get("NARROWS_PROJECT") or None

    def settings(self) -> config.Config:
        return config.load({"data": self.data})


def answers(path: Path) -> bool:
    """Whether a server listens on the socket: its file alone may be left over from a crash."""
    with contextlib.suppress(OSError), _socket_name(path) as name, socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        probe.connect(name)
        return True
    return False


@contextlib.contextmanager
def _socket_name(path: Path) -> Iterator[str]:
    """A name for a socket's file that fits the 107 bytes that the system allows for it."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextlib.asynccontextmanager
async def connect(reach: Reach, *, as_host: bool = False) -> AsyncIterator[AsyncClient]:
    """A client of the nearest server. `as_host`: a command for whoever owns the machine, who names a
    project only on purpose and needs no running server."""
    url = reach.explicit_url
    api_key = secret_from_file(reach.api_key_file)
    if url is not None:
        client = AsyncClient(
            url,
            api_key=api_key,
            project_id=reach.asked_project,
            retry_secs=RETRY_SECS,
            reconnect_secs=RECONNECT_SECS,
        )
        async with client:
            yield client
        return
    settings = reach.settings()
    project = reach.asked_project or (None if as_host else DEFAULT_PROJECT)
    if answers(settings.socket_path):
        with _socket_name(settings.socket_path) as name:
            async with AsyncClient(
                uds=name, project_id=project, retry_secs=RETRY_SECS, reconnect_secs=RECONNECT_SECS
            ) as client:
                yield client
    elif as_host:
        async with _in_process(settings, project) as client:
            yield client
    else:
        client = AsyncClient(
            DEFAULT_URL,
            api_key=api_key,
            project_id=reach.asked_project,
            retry_secs=RETRY_SECS,
            reconnect_secs=RECONNECT_SECS,
        )
        async with client:
            yield client


async def make_default(client: AsyncClient) -> bool:
    """Make the project `default`, which is there for whoever names none; False where it was there."""
    page = await client.list_projects(limit=100)
    if any(found.id == DEFAULT_PROJECT for found in page.data):
        return False
    try:
        await client.create_project(DEFAULT_PROJECT)
    except Conflict:  # made by another at the same time, or not on the first page
        return False
    return True


@contextlib.asynccontextmanager
async def _in_process(settings: config.Config, project: str | None) -> AsyncIterator[AsyncClient]:
    """The whole server but its engine and its listeners, for the length of one command."""
    import httpx2  # noqa: PLC0415 - only where no server runs

    from narrows import server  # noqa: PLC0415 - the server's packages are slow to load
    from narrows.clock import SystemClock  # noqa: PLC0415 - see above

    async with server.open_service(settings, SystemClock()) as service:
        transport = httpx2.ASGITransport(server.create_host_app(service, settings))
        async with AsyncClient("http://localhost", transport=transport, project_id=project) as client:
            yield client


def where(reach: Reach) -> str:
    """Which way `connect` would take, in words."""
    if reach.explicit_url:
        return reach.explicit_url
    settings = reach.settings()
    return f"the socket {settings.socket_path}" if answers(settings.socket_path) else DEFAULT_URL
