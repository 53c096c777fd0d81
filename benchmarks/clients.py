"""Small clients for what wrk cannot measure: one request at a time, long polls, streams. The load
that they make is tiny, so that what they measure is the server and not themselves.

`python -m benchmarks.clients streams PORT KEY COUNT` holds streams open in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from benchmarks.places import HOST
from benchmarks.prepare import API_KEY

_CONNECT_AT_ONCE = 200


class Wire:
    """One keep-alive connection, blocking, without a library between."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket = socket.create_connection((HOST, port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def put(self, method: str, path: str, body: object = None, token: str = API_KEY) -> None:
        self._socket.sendall(request_bytes(method, path, body, token))

    def take(self) -> Any:
        """The next reply's JSON. Raises RuntimeError where it is not 2xx."""
        return json.loads(self._take())

    def _take(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(rest) < length:
            self._buffer = b""
            self._more()
            rest += self._buffer
        self._buffer = rest[length:]
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{head[:60]!r} {rest[:300]!r}")
        return rest[:length]

    def call(self, method: str, path: str, body: object = None, token: str = API_KEY) -> Any:
        self.put(method, path, body, token)
        return self.take()

    def milliseconds(self, request: bytes) -> float:
        """How long a request took, from its first byte to the last of its reply."""
        began = time.perf_counter()
        self._socket.sendall(request)
        self._take()
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> None:
        part = self._socket.recv(1 << 20)
        if not part:
            raise RuntimeError("the server closed the connection")
        self._buffer += part


def request_bytes(method: str, path: str, body: object = None, token: str = API_KEY) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def milliseconds(port: int, method: str, path: str, count: int, body: object = None) -> list[float]:
    """How long each of `count` equal requests took, one after the other."""
    wire, took = Wire(port), []
    for _ in range(count):
        began = time.perf_counter()
        wire.call(method, path, body)
        took.append((time.perf_counter() - began) * 1000)
    wire.close()
    return took


def all_at_once(port: int, requests: Sequence[bytes], connections: int = 64) -> float:
    """Milliseconds until all are answered, each connection with one after the other. Raises RuntimeError where an
    answer is not 2xx."""

    async def ask(lines: tuple[asyncio.StreamReader, asyncio.StreamWriter], mine: Sequence[bytes]) -> None:
        reader, writer = lines
        for request in mine:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"{head[:60]!r} {body[:300]!r}")
        writer.close()

    async def ask_all() -> float:
        lines = [await asyncio.open_connection(HOST, port) for _ in range(connections)]
        began = time.perf_counter()
        await asyncio.gather(*(ask(each, requests[number::connections]) for number, each in enumerate(lines)))
        return (time.perf_counter() - began) * 1000

    return uvloop.run(ask_all())


def claim(wire: Wire, job: str, count: int) -> list[tuple[str, str]]:
    """So many queued runs of a job: their ids and tokens."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        body = {"jobs": [job], "limit": min(100, count - len(found)), "wait_secs": 0}
        runs = wire.call("POST", "/v1/workers/claim", body)["runs"]
        if not runs:
            raise SystemExit(f"{len(found)} runs of the job {job} are queued, not {count}")
        found += [(each["run"]["id"], each["run_token"]) for each in runs]
    return found


def finishing(run_id: str, token: str) -> bytes:
    """The request that completes a claimed run."""
    return request_bytes("POST", f"/sdk/v1/runs/{run_id}/complete", {"result": {"done": True}}, token)


def settled_secs(port: int, trigger_ids: list[str]) -> list[float]:
    """When the long poll of each trigger was answered, by the clock of this machine."""

    async def poll(trigger_id: str) -> float:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(request_bytes("GET", f"/v1/triggers/{trigger_id}/wait?timeout_secs=60"))
        await reader.readuntil(b"\r\n\r\n")
        at = time.time()
        writer.close()
        return at

    async def poll_all() -> list[float]:
        return await asyncio.gather(*map(poll, trigger_ids))

    return uvloop.run(poll_all())


def resumed_milliseconds(waiting_port: int, sending_port: int, count: int) -> list[float]:
    """From the first byte of the send to the last byte of the long poll that waited for it."""
    waiter, sender, took = Wire(waiting_port), Wire(sending_port), []
    for number in range(count):
        opened = sender.call("POST", "/v1/events", {"event_key": f"resume:{time.time_ns()}:{number}"})
        waiter.put("GET", f"/v1/triggers/{opened['id']}/wait?timeout_secs=30")
        time.sleep(0.005)  # the long poll is to be waiting when the event comes
        began = time.perf_counter()
        sender.put("POST", f"/v1/triggers/{opened['id']}/send", {"payload": {"approved": True}})
        waiter.take()
        took.append((time.perf_counter() - began) * 1000)
        sender.take()
    waiter.close()
    sender.close()
    return took


class Streams:
    """Many streams of one key, in one event loop. Counts frames; keeps the time of the last."""

    def __init__(self, port: int, key: str, count: int) -> None:
        self._port, self._key, self._count = port, key, count
        self.frames = 0
        self.last_at = 0.0
        self.want = asyncio.Event()
        self.target = 0
        self._fault = ""

    async def open(self) -> None:
        self.target = self._count
        for first in range(0, self._count, _CONNECT_AT_ONCE):
            many = range(min(_CONNECT_AT_ONCE, self._count - first))
            await asyncio.gather(*(self._connect() for _ in many))
        await self._until_target()

    async def next(self) -> None:
        """Until every stream has one more frame."""
        if not self._fault:
            self.want.clear()
        self.target += self._count
        await self._until_target()

    async def _until_target(self) -> None:
        await self.want.wait()
        if self.frames < self.target:
            raise SystemExit(f"only {self.frames} of {self.target} frames came, then: {self._fault}")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: _StreamReader(self), HOST, self._port)
        transport.write(request_bytes("GET", f"/v1/events/{self._key}/stream"))

    def fail(self, reason: str) -> None:
        self._fault = reason
        self.want.set()

    def frame(self) -> None:
        self.frames += 1
        if self.frames >= self.target:
            self.last_at = time.time()
            self.want.set()


class _StreamReader(asyncio.Protocol):
    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._is_open = False

    def data_received(self, data: bytes) -> None:
        if not self._is_open and not data.startswith(b"HTTP/1.1 200 "):
            self._streams.fail(data.decode(errors="replace"))
        self._is_open = True
        for _ in range(data.count(b"data:")):
            self._streams.frame()

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.fail(f"a connection was closed ({exc})")


async def _hold(port: int, key: str, count: int) -> None:
    streams = Streams(port, key, count)
    await streams.open()
    print("open", flush=True)
    await streams.next()
    print(streams.last_at, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, key, count = sys.argv[2:5]
    uvloop.run(_hold(int(port), key, int(count)))


if __name__ == "__main__":
    main()
