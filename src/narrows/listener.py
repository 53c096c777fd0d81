"""uvicorn as our server runs it: two listeners in one event loop, signals left to the composition
root, and JSON even where a request is not HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from narrows.config import Config
from narrows.errors import StorageError

MAX_HEAD_BYTES = 64 << 10
BACKLOG = 4_096
_NOT_HTTP = (
    b'{"error":"The request is not valid HTTP/1.1. Check its request line and headers.",'
    b'"message":"The request is not valid HTTP/1.1. Check its request line and headers.",'
    b'"code":"invalid_request","request_id":"-"}'
)


class HeadJoiner:
    """A transport that keeps the head of a reply until its body comes, so that both go out in one
    system call: on the path of a send the second one costs as much as all of our own code."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            # uvicorn always writes a body after a head, if only an empty one.
            self._head = data
            return
        if data:
            self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """Every reply of ours is JSON, also the one to what is no HTTP at all."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(HeadJoiner(transport))  # type: ignore[arg-type]

    def send_400_response(self, msg: str) -> None:
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"x-content-type-options: nosniff\r\nx-api-version: v1\r\nx-request-id: -\r\n"
            b"content-security-policy: default-src 'none'\r\n"
        )
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(_NOT_HTTP) + _NOT_HTTP)
        self.transport.close()


class Listener(uvicorn.Server):
    """One listening socket with its application."""

    def __init__(self, app: Any, listening: socket.socket, config: Config) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=config.shutdown_secs,
            )
        )
        self._listening = listening
        self._started = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started.set()

    async def is_ready(self) -> None:
        await self._started.wait()

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Serve; when `stop` is set, take nothing new and let open requests end."""
        serving = asyncio.create_task(self.serve([self._listening]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        self.should_exit = True
        stopping.cancel()
        await serving


@contextlib.contextmanager
def tcp_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A listening TCP socket. Raises StorageError with what to do where the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise StorageError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Take another --port or --host, "
                "or stop what listens there."
            ) from None
        listening.listen(BACKLOG)
        yield listening
    finally:
        listening.close()


@contextlib.contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """The socket in the data folder, for its owner alone. A file left by a crash is replaced: who
    gets here holds the folder's lock. A path too long for the system is bound by a relative name."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = os.umask(0o177)
        try:
            listening.bind(f"/proc/self/fd/{folder}/{path.name}" if len(bytes(path)) > 100 else str(path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
        yield listening
    finally:
        os.close(folder)
        listening.close()
        path.unlink(missing_ok=True)

