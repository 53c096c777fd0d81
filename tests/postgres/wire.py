"""PostgreSQL's wire protocol as far as the tests need it: bytes cut into messages, and what a message says.

Not a driver: nothing here opens a connection.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

#: Requests that stand in the place of the first message.
ENCRYPTION_REQUESTS = (80877103, 80877104)
CANCEL_REQUEST = 80877102
#: A statement that is, or among others has, an end of a transaction; or is a batch of a store by itself.
_COMMIT = re.compile(r"(?:^|;)\s*(?:commit|end)\b|narrows_still_so\(", re.IGNORECASE)
#: What the server says of the one and of the other.
_COMMITTED = ("COMMIT", "SELECT 1")


class Side(Enum):
    """Who sent it."""

    CLIENT = "client"
    SERVER = "server"


class Message(NamedTuple):
    """One message; `kind` is its letter, empty for the first one of a connection, which has none."""

    side: Side
    kind: str
    body: bytes
    raw: bytes

    @property
    def code(self) -> int:
        """What a message without a letter asks for: a version of the protocol, encryption, a cancel."""
        return int.from_bytes(self.body[:4], "big") if not self.kind else 0

    @property
    def text(self) -> str:
        """The SQL of a query or of a parse, the tag of a completed command; else empty."""
        if self.side is Side.CLIENT and self.kind == "P":
            return _string(self.body[self.body.index(0) + 1 :])
        if (self.side, self.kind) in ((Side.CLIENT, "Q"), (Side.SERVER, "C")):
            return _string(self.body)
        return ""

    @property
    def ends_transaction(self) -> bool:
        """Whether its SQL commits."""
        return self.side is Side.CLIENT and _COMMIT.search(self.text) is not None


def _string(data: bytes) -> str:
    return data[: data.index(0)].decode(errors="replace")


class Splitter:
    """Cuts what one side sends into messages, however it arrives."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._buffer = bytearray()
        #: Whether the next message has no letter. Only a client's first ones have none.
        self.letterless = side is Side.CLIENT

    def feed(self, data: bytes) -> Iterator[Message]:
        self._buffer += data
        while True:
            start = 0 if self.letterless else 1
            if len(self._buffer) < start + 4:
                return
            end = start + int.from_bytes(self._buffer[start : start + 4], "big")
            if len(self._buffer) < end:
                return
            raw = bytes(self._buffer[:end])
            del self._buffer[:end]
            message = Message(self._side, raw[:start].decode(), raw[start + 4 :], raw)
            self.letterless = message.code in ENCRYPTION_REQUESTS
            yield message


class Commits:
    """Knows which of a client's messages makes the server commit: also the execution of a statement prepared long
    before; and which of the server's says that it has."""

    def __init__(self) -> None:
        self._statements: set[bytes] = set()
        self._portals: set[bytes] = set()
        self._is_due = False

    def carried_by(self, message: Message) -> bool:
        """Take the next message; answers whether the server commits when it gets it, or has when it sends it."""
        if message.side is Side.SERVER:
            says_so = self._is_due and message.text in _COMMITTED
            if says_so or message.kind == "Z":  # it is ready again: whatever was due has failed
                self._is_due = False
            return says_so
        commits = self._commits_at(message)
        self._is_due = self._is_due or commits
        return commits

    def _commits_at(self, message: Message) -> bool:
        if message.kind == "P":
            name = message.body[: message.body.index(0)]
            (self._statements.add if message.ends_transaction else self._statements.discard)(name)
        elif message.kind == "B":
            portal, statement, _ = message.body.split(b"\0", 2)
            commits = statement in self._statements
            (self._portals.add if commits else self._portals.discard)(portal)
        elif message.kind == "E":
            return message.body[: message.body.index(0)] in self._portals
        return message.kind == "Q" and message.ends_transaction


def encoded(kind: str, body: bytes) -> bytes:
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def startup(**parameters: str) -> bytes:
    """The first message of a connection."""
    pairs = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return encoded("", struct.pack("!HH", 3, 0) + pairs + b"\0")


def fields(row: bytes) -> tuple[str | None, ...]:
    """The columns of a DataRow in text format."""
    found: list[str | None] = []
    at = 2
    for _ in range(int.from_bytes(row[:2], "big")):
        length = int.from_bytes(row[at : at + 4], "big", signed=True)
        at += 4
        found.append(None if length < 0 else row[at : at + length].decode())
        at += max(length, 0)
    return tuple(found)


def error(body: bytes) -> tuple[str, str, str]:
    """Severity, SQLSTATE and message of an ErrorResponse."""
    parts = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return parts.get(b"V", ""), parts.get(b"C", ""), parts.get(b"M", "")
