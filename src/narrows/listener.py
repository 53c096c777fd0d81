"""uvicorn as our server runs it: two listeners in one event loop, signals left to the composition
root, and JSON even where a request is not HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from narrows.config import Config
from narrows.errors import StorageError
from narrows.outbox import Gathering, Outbox
from narrows.pace import Pace

MAX_HEAD_BYTES = 64 << 10
#: Requests that may wait on one connection behind the one that is being answered.
MAX_PIPELINED = 10_000
#: How long the head of a request may take to come, and then its body.
HEAD_SECS = 30.0
BODY_SECS = 120.0
#: How long a reader may take nothing of what was written.
READ_SECS = 30.0
#: How long an idle connection is kept for its next request.
IDLE_SECS = 75.0
#: The part of the time for a stop after which connections that are still open are broken off.
_STOP_SHARE = 0.8
#: uvicorn ticks ten times a second; slow requests are looked for every two seconds.
_TICKS_PER_LOOK = 20
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_UPGRADE_WITHIN = 4_096
BACKLOG = 4_096
_NOT_HTTP = "The request is not valid HTTP/1.1. Check its request line and headers."
_HEAD_TOO_LARGE = (
    f"The request line and headers are over {MAX_HEAD_BYTES:,} bytes; send fewer or shorter ones."
)


class Cycle(RequestResponseCycle):
    """One request and its reply. The usual reply, head and whole body, is written at once and without
    a look at each header for what only another program's would be; all else is uvicorn's own way."""

    #: A start that waits for its body.
    _start: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and _says_its_length(message):
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if self._is_usual(message):
                self._write_whole(start, message["body"])
                return
            await super().send(start)
        await super().send(message)

    def _is_usual(self, message: Any) -> bool:
        """Whether nothing about the connection, the request or the body wants care."""
        return (
            not self.response_started
            and self.keep_alive
            and not self.disconnected
            and not self.flow.write_paused
            and self.scope["method"] != "HEAD"
            and not message.get("more_body")
        )

    def _write_whole(self, start: Any, body: bytes) -> None:
        headers = start["headers"]
        lines = [b"%b: %b\r\n" % header for header in headers]
        head = STATUS_LINE[start["status"]] + b"".join(lines)
        if head.count(b"\n") != len(headers) + 1 or head.count(b"\r") != len(headers) + 1:
            raise RuntimeError("a header of a reply holds the end of a line")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(head + b"\r\n" + body)
        self.message_event.set()
        self.on_response()


def _says_its_length(start: Any) -> bool:
    """Whether its body comes at once and whole: then its length is the last header (`Call.respond`)."""
    return bool(start["headers"]) and start["headers"][-1][0] == b"content-length"


class Protocol(HttpToolsProtocol):
    """Every reply of ours is JSON, also the one to what is no HTTP at all; and what one connection
    can make us keep or wait for has an end."""

    #: Bytes of a head whose end has not come yet.
    _head_bytes = 0
    #: How many requests have been answered.
    _requests = 0
    #: What was awaited at an earlier look, and since when.
    _awaited = ("nothing", 0)
    _awaited_since = 0.0
    # None until the first request, which uvicorn does not declare.
    cycle: Any
    scope: Any

    def __init__(self, *, outbox: Outbox, pace: Pace, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._outbox = outbox
        self._pace = pace
        #: A request that begins in its turn.
        self._planned: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Gathering(transport, self._outbox))  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        self._begin()  # or it would begin when nobody at a stop of the server waits for it any more
        super().connection_lost(exc)
        # Requests that have not begun hold this connection, and it them: only the collector of cycles
        # would free them.
        self.pipeline.clear()

    def eof_received(self) -> bool:  # type: ignore[override]  # as the event loop has it
        # Who sends no more may still read what is ready: the transport closes itself behind this, or a turn later
        # where a request has not had its own yet.
        self.transport.flush()  # type: ignore[attr-defined]  # a Gathering
        is_under_way = self.cycle is not None and not self.cycle.response_complete
        if is_under_way:
            self._begin()
            self.loop.call_soon(self.transport.close)
        return is_under_way

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        if (cycle is None or not cycle.more_body) and data.find(b"pgrade:", 0, _UPGRADE_WITHIN) >= 0:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._is_in_head():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large", _HEAD_TOO_LARGE)
        else:
            self._head_bytes = 0
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()

    def _is_in_head(self) -> bool:
        """Whether a request has begun whose headers are not complete: its scope is no cycle's yet."""
        scope, cycle = self.scope, self.cycle
        return scope is not None and (cycle is None or cycle.scope is not scope)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._planned = (cycle, app)
        self._pace.call(self._begin)

    def _begin(self) -> None:
        """Begin the request that is planned, if it has not begun."""
        planned, self._planned = self._planned, None
        if planned is not None:
            super()._start_asgi_task(*planned)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        # uvicorn names its own class there. The request has not begun: its task is only planned.
        self.cycle.__class__ = Cycle

    def on_response_complete(self) -> None:
        """uvicorn's, but for its timer: idle connections are found by `look`."""
        self._requests += 1
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", _NOT_HTTP)

    def _refuse(self, status: bytes, sentence: str) -> None:
        if self.transport.is_closing():
            return
        body = msgspec.json.encode(
            {"error": sentence, "message": sentence, "code": "invalid_request", "request_id": "-"}
        )
        head = (
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"x-content-type-options: nosniff\r\nx-api-version: v1\r\nx-request-id: -\r\n"
            b"content-security-policy: default-src 'none'\r\n"
        )
        self.transport.write(head % status + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()

    def look(self, now: float) -> None:
        """Break off who keeps us waiting: for a request, or for its taking what we answered. Who asks
        nothing more is let go."""
        kind, what, patience_secs = self._awaits()
        if patience_secs == 0.0 or (kind, what) != self._awaited:
            self._awaited, self._awaited_since = (kind, what), now
        elif now - self._awaited_since > patience_secs:
            if kind == "next":
                self.transport.close()
            else:
                self.transport.abort()

    def _awaits(self) -> tuple[str, int, float]:
        """What this connection waits for, told apart from what it waited for before; and how long it
        may."""
        if unsent := self.transport.get_write_buffer_size():
            return "reader", unsent, READ_SECS
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            return "body", self._requests, BODY_SECS if cycle.more_body else 0.0
        if cycle is None or self._is_in_head():
            return "head", self._requests, HEAD_SECS
        return "next", self._requests, IDLE_SECS


def _without_upgrade(data: bytes) -> bytes:
    """The same bytes, but their first head asks for no other protocol. We speak none, and may ignore
    the wish; the parser would take the body for that protocol. Java's HTTP client asks by default."""
    head, separator, body = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + separator + body


class Listener(uvicorn.Server):
    """One listening socket with its application."""

    def __init__(self, app: Any, listening: socket.socket, config: Config, pace: Pace) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                http=partial(Protocol, outbox=Outbox(), pace=pace),  # type: ignore[arg-type]  # called as the class
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
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

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_PER_LOOK == 0:
            now = asyncio.get_running_loop().time()
            for connection in self._connections():
                connection.look(now)
        return await super().on_tick(counter)

    async def is_ready(self) -> None:
        await self._started.wait()

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Serve; when `stop` is set, take nothing new and let open requests end."""
        serving = asyncio.create_task(self.serve([self._listening]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        self.should_exit = True
        stopping.cancel()
        # Who does not read his reply, or send his request, must not make the stop a late one.
        patience_secs = self.config.timeout_graceful_shutdown or 0
        breaking_off = asyncio.get_running_loop().call_later(patience_secs * _STOP_SHARE, self._break_off)
        try:
            await serving
        finally:
            breaking_off.cancel()

    def _break_off(self) -> None:
        for connection in self._connections():
            connection.transport.abort()

    def _connections(self) -> list[Protocol]:
        return [each for each in self.server_state.connections if isinstance(each, Protocol)]


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


def is_answered(path: Path) -> bool:
    """Whether some server listens on the socket: its file alone may be left over from a crash."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            probe.connect(f"/proc/self/fd/{folder}/{path.name}")
            return True
        finally:
            os.close(folder)
    return False


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
