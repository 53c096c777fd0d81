"""Readers of streams: many that read, in one event loop, and frozen ones that never do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Reader:
    """One stream, read as fast as it comes. `frames` are (position, trigger); `comments` all others."""

    def __init__(self, port: int, path: str, **headers: str) -> None:
        self.port = port
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n".encode()
        self.status = 0
        self.frames: list[tuple[str, Any]] = []
        self.comments: list[str] = []
        self.ended_well = False
        self.is_open = asyncio.Event()

    async def run(self) -> Reader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=4 << 20)
        try:
            writer.write(self.request)
            head = await reader.readuntil(b"\r\n\r\n")
            self.status = int(head.split()[1])
            if self.status == 200:
                await self._read(reader)
        finally:
            self.is_open.set()
            writer.close()
        return self

    async def _read(self, reader: asyncio.StreamReader) -> None:
        text = b""
        while size := int((await reader.readline()).strip(), 16):
            text += (await reader.readexactly(size + 2))[:-2]
            *whole, text = text.split(b"\n\n")
            for each in whole:
                self._take(each.decode())
        self.ended_well = text == b""

    def _take(self, message: str) -> None:
        self.is_open.set()
        if message.startswith(":"):
            self.comments.append(message)
            return
        event, position, data = message.split("\n")
        assert event == "event: status"
        self.frames.append((position.removeprefix("id: "), json.loads(data.removeprefix("data: "))))

    @property
    def versions(self) -> list[int]:
        return [int(position.rpartition(".")[2]) for position, _ in self.frames]


@contextmanager
def frozen(port: int, path: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections that ask for a stream, take almost nothing into their buffers and never read."""
    connections = []
    try:
        for _ in range(count):
            connection = socket.socket()
            connections.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        yield connections
    finally:
        for connection in connections:
            connection.close()


def is_cut(connection: socket.socket) -> bool:
    """Whether the other side has broken this connection off, found out without reading from it."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED


ESTABLISHED = 1
