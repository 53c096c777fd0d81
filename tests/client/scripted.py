"""A tiny real HTTP server that answers by a script, on a socket, and writes down what it was asked.
Not a mock of the HTTP library: what the client sends went over the wire."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from narrows.client.sse import EventParser, ServerEvent

TRIGGER: dict[str, Any] = {
    "id": "t1",
    "event_key": "k",
    "project_id": "default",
    "source_type": "job_run",
    "trigger_type": "event",
    "status": "waiting",
    "timeout_secs": 3600,
    "requested_at": "2026-11-23T20:40:44.12Z",
    "expires_at": "9999-12-31T23:59:59Z",
}


class Seen(NamedTuple):
    """A request as it came: `target` is the raw path with its query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What to answer. `chunks` is sent without a length, and the connection then closed; `drop`
    closes it before any answer."""

    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    chunks: tuple[bytes, ...] | None = None
    drop: bool = False


def trigger(**fields: Any) -> Answer:
    return Answer(body=TRIGGER | fields)


def problem(status: int, code: str, *, retry_after: int | None = None, details: Sequence[str] = ()) -> Answer:
    body = {"error": f"It is {code}.", "message": f"It is {code}.", "code": code, "request_id": "r-1"}
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Answer(status, body | ({"details": list(details)} if details else {}), headers)


def frame(version: int, **fields: Any) -> bytes:
    """One frame of a stream."""
    return b"event: status\nid: t1.%d\ndata: %s\n\n" % (version, json.dumps(TRIGGER | fields).encode())


def stream(*chunks: bytes) -> Answer:
    return Answer(headers=(("Content-Type", "text/event-stream"),), chunks=chunks)


DROP = Answer(drop=True)


class ScriptedServer:
    """Answers the n-th request by the n-th entry of `script`; beyond its end by `otherwise`."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.otherwise = Answer(status=599, body="the script is over")
        self.seen: list[Seen] = []
        self.url = ""

    def play(self, *answers: Answer) -> None:
        self.script = list(answers)
        self.seen.clear()


class ManualPace:
    """Time passes only in pauses. The bytes are all `byte`."""

    def __init__(self, byte: int = 0xFF) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.byte = byte

    def monotonic(self) -> float:
        return self.now

    def random_bytes(self, count: int) -> bytes:
        return bytes([self.byte]) * count

    def sleep(self, secs: float) -> None:
        self.pauses.append(secs)
        self.now += secs

    async def sleep_async(self, secs: float) -> None:
        self.sleep(secs)


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.seen.append(Seen(self.command, self.path, dict(self.headers), body))
            answer = server.script.pop(0) if server.script else server.otherwise
            if answer.drop:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            if answer.chunks is not None:
                self._stream(answer.chunks)
                return
            payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            if answer.status != 204:
                self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if answer.status != 204:
                self.wfile.write(payload)

        def _stream(self, chunks: Sequence[bytes]) -> None:
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):
                for chunk in chunks:
                    self.wfile.write(chunk)
            self.close_connection = True

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = answer  # noqa: N815 - the names that http.server asks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            return

    return Handler


class _Listening(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextlib.contextmanager
def serve() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    with _Listening(("127.0.0.1", 0), _handler(server)) as listening:
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def parse(*chunks: bytes) -> list[ServerEvent]:
    """All events of a stream that came in these chunks."""
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]
