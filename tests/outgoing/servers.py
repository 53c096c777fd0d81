"""Targets that behave and that do not: real sockets on loopback, told by a coroutine what to do with a
connection. A target counts its connections and keeps what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Serve = Callable[["Target", Reader, Writer], Awaitable[None]]
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Target:
    """One listening socket."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.port = 0
        self.connections = 0
        self.open = 0
        self.requests: list[tuple[bytes, bytes]] = []
        self.sent_bytes = 0
        self.gone = asyncio.Event()

    def url(self, path: str = "/hook", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def request(self, reader: Reader) -> tuple[bytes, bytes]:
        """Read one whole request: its head and its body."""
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        body = await reader.readexactly(int(found[1]) if found else 0)
        self.requests.append((head, body))
        return head, body

    async def send(self, writer: Writer, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent_bytes += len(data)

    async def connected(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._serve(self, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self.gone.set()
            writer.close()


@contextlib.asynccontextmanager
async def target(
    serve: Serve, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Target]:
    made = Target(serve)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: Reader, writer: Writer) -> None:
        task = asyncio.ensure_future(made.connected(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answer(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def saying(*answers: bytes) -> Serve:
    """Answers one request after the other on a connection, with the last one again and again."""

    async def serve(made: Target, reader: Reader, writer: Writer) -> None:
        number = 0
        while True:
            await made.request(reader)
            await made.send(writer, answers[min(number, len(answers) - 1)])
            number += 1

    return serve


def saying_once(data: bytes) -> Serve:
    """Answers one request with these bytes and closes."""

    async def serve(made: Target, reader: Reader, writer: Writer) -> None:
        await made.request(reader)
        await made.send(writer, data)

    return serve


def saying_for_ever(head: bytes, part: bytes, most: int) -> Serve:
    """Answers with a head, then with the same part until `most` bytes went out or nobody listens."""

    async def serve(made: Target, reader: Reader, writer: Writer) -> None:
        await made.request(reader)
        await made.send(writer, head)
        while made.sent_bytes < most:
            await made.send(writer, part)

    return serve


async def silent(made: Target, reader: Reader, writer: Writer) -> None:
    """Takes the request and never answers."""
    await made.request(reader)
    await reader.read()
