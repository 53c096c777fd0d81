"""The HTTP API over a real store, for tests: called in process, or over real sockets.

`opened(config)` gives an `Api` and a way to ask it; `Server` runs uvicorn in a thread and takes
bytes as they are, for what only a socket can show.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvloop

from narrows.api.app import Api, create_app
from narrows.api.keys import hash_secret, make_key, make_key_id
from narrows.api.settings import ApiSettings
from narrows.clock import Clock, SystemClock
from narrows.config import Config
from narrows.listener import Listener
from narrows.operations.access import CreateApiKey, CreateProject
from narrows.operations.base import HOST
from narrows.operations.service import Service
from narrows.server import open_service
from narrows.testing import ManualClock

LOCAL = {"host": "127.0.0.1:8080"}


class Answer:
    """A reply, whole."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks an `Api` in process, as uvicorn would."""

    def __init__(self, api: Api, *, as_host: bool = False) -> None:
        self.api = api
        self._app = api.as_host if as_host else api

    async def __call__(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        key: str | None = None,
        raw: bytes | None = None,
        parts: tuple[bytes, ...] = (),
        **headers: str,
    ) -> Answer:
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        named = LOCAL | {name.replace("_", "-"): value for name, value in headers.items()}
        if content:
            named["content-length"] = str(len(content))
        if key is not None:
            named["authorization"] = f"Bearer {key}"
        path, _, query = target.partition("?")
        sent: list[dict[str, Any]] = []
        bodies = [content, *parts][::-1]  # `parts` come one by one, as from a slow client
        messages = [
            {"type": "http.request", "body": body, "more_body": number > 0}
            for number, body in enumerate(bodies)
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop() if messages else await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 9),
            "scheme": "http",
        }
        await self._app(scope, receive, send)
        whole = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], sent[0]["headers"], whole)


def service_of(config: Config, clock: Clock) -> AbstractAsyncContextManager[Service]:
    """The service over the database; time is the test's where it moves it by hand."""
    store: dict[str, Any] = {}
    if config.is_shared and isinstance(clock, ManualClock):
        store["database_time"] = False
    return open_service(config, clock, **store)


@asynccontextmanager
async def opened(config: Config, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Client]:
    """A client of a fresh API without keys (`dev`) unless the settings say otherwise."""
    async with service_of(config, clock or SystemClock()) as service:
        yield Client(create_app(service, ApiSettings(**{"dev": True, **settings})))


async def make_api_key(
    client: Client, project_id: str | None, *scopes: str, number: int = 1, expires_at: int | None = None
) -> str:
    """An API key straight into the store; `project_id` None makes an admin key."""
    service = client.api.service
    if project_id is not None:
        await service.perform(CreateProject(actor=HOST, id=project_id, entropy=number, exist_ok=True))
    key_id = make_key_id(service.clock.now(), number.to_bytes(4, "big"))
    key = make_key(key_id, service.clock.random_bytes(32))
    await service.perform(
        CreateApiKey(
            actor=HOST,
            id=key_id,
            project_id=project_id,
            name=None,
            scopes=scopes,
            secret_hash=hash_secret(key),
            expires_at=expires_at,
            entropy=number,
        )
    )
    return key


class Server:
    """The API on a loopback port, in a thread with an event loop of its own, the server's kind of loop."""

    def __init__(self, config: Config, **settings: Any) -> None:
        self._config = config
        self._settings = {"dev": True, **settings}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.api: Any = None
        self.loop: Any = None
        self.listener: Any = None
        self.pace: Any = None
        self.port = 0

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with open_service(self._config, SystemClock()) as service:
            self.api = create_app(service, ApiSettings(**self._settings))
            with socket.create_server(("127.0.0.1", 0)) as listening:
                self.port = listening.getsockname()[1]
                self.pace = service.store.pace
                self.listener = Listener(self.api, listening, self._config, self.pace)
                serving = asyncio.create_task(self.listener.serve_until(self._stop))
                await self.listener.is_ready()
                self._ready.set()
                await self._stop.wait()
                self.api.close()
                service.feed.close()
                await serving

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call it in the thread of the server's loop, soon."""
        self.loop.call_soon_threadsafe(function, *arguments)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, head: str, body: bytes = b"", *, length: bool = True) -> Answer:
        """Send a request line with headers as they are given, and read one reply to its end."""
        lines = head.strip().split("\n")
        if length and body:
            lines.append(f"content-length: {len(body)}")
        lines += ["host: localhost", "connection: close"]
        with self.connect() as connection:
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    """One reply on a connection that closes after it."""
    received = b""
    while part := connection.recv(65536):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return Answer(int(status_line.split()[1]), headers, body)
