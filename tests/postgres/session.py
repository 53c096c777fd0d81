"""A plain connection for housekeeping: synchronous, so that fixtures need no event loop, and of no thread.

What is tested uses a real driver; this one knows only simple queries, without encryption and passwords.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.postgres import wire

Row = tuple[str | None, ...]


class SqlError(Exception):
    """What the server refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Target(NamedTuple):
    """Where a dsn points to; a host that begins with a slash is the folder of a socket."""

    host: str
    port: int
    user: str
    database: str

    @classmethod
    def of(cls, dsn: str) -> Self:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        host = query["host"][0] if "host" in query else parts.hostname or "127.0.0.1"
        port = int(query["port"][0]) if "port" in query else parts.port or 5432
        return cls(host, port, unquote(parts.username or "narrows"), unquote(parts.path[1:]))

    @property
    def dsn(self) -> str:
        if self.path:
            return f"postgresql://{self.user}@/{self.database}?host={self.host}&port={self.port}"
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def path(self) -> str | None:
        """The socket's file, if it is one."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else None

    def connect(self, timeout: float) -> socket.socket:
        if not self.path:
            return socket.create_connection((self.host, self.port), timeout)
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(timeout)
        try:
            found.connect(self.path)
        except OSError:
            found.close()
            raise
        return found


class Session:
    """One connection; `run` answers the rows of the last statement."""

    def __init__(self, dsn: str, *, timeout_secs: float = 30) -> None:
        target = Target.of(dsn)
        self._socket = target.connect(timeout_secs)
        self._splitter = wire.Splitter(wire.Side.SERVER)
        self._waiting: deque[wire.Message] = deque()
        try:
            self._ask(wire.startup(user=target.user, database=target.database))
        except BaseException:
            self.close()
            raise

    def run(self, sql: str) -> list[Row]:
        return self._ask(wire.encoded("Q", sql.encode() + b"\0"))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: bytes) -> list[Row]:
        """Send it and read until the server is ready again."""
        self._socket.sendall(request)
        rows: list[Row] = []
        refused: SqlError | None = None
        while (message := self._next()).kind != "Z":
            if message.kind == "T":
                rows = []
            elif message.kind == "D":
                rows.append(wire.fields(message.body))
            elif message.kind == "E":
                severity, code, text = wire.error(message.body)
                refused = SqlError(code, text)
                if severity != "ERROR":  # the server closes after it
                    raise refused
        if refused is not None:
            raise refused
        return rows

    def _next(self) -> wire.Message:
        while not self._waiting:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._waiting.extend(self._splitter.feed(data))
        return self._waiting.popleft()
