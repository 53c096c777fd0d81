"""How replies leave: what one turn of the event loop writes goes out together at its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import Any

log = logging.getLogger("narrows.outbox")

#: Connections whose replies go out together, and bytes of one that wait for that.
MAX_IN_OUTBOX = 16
MAX_KEPT_BYTES = 64 << 10
_NO_LINGER = struct.pack("ii", 1, 0)


class Outbox:
    """What goes out at the end of a turn of the event loop, of all connections of one listener.

    Whoever reads the first of several replies is still awake for the next ones. Written where they arise,
    each wakes him anew, which on one machine costs as much as a sixth of a request.
    """

    def __init__(self) -> None:
        self._gathered: list[Gathering] = []

    def add(self, gathering: Gathering) -> None:
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self.empty)
        self._gathered.append(gathering)
        if len(self._gathered) >= MAX_IN_OUTBOX:
            self.empty()

    def empty(self) -> None:
        gathered, self._gathered = self._gathered, []
        for each in gathered:
            try:
                each.flush()
            except Exception:
                # A fault of one connection is not the others'.
                log.exception("a reply could not be written; its connection is broken off")
                asyncio.get_running_loop().call_soon(each.abort)


class Gathering:
    """A transport that keeps what is written to it until its outbox is emptied: a reply, head and body,
    goes out in one system call."""

    __slots__ = ("_is_in_outbox", "_kept", "_outbox", "_transport")

    def __init__(self, transport: Any, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._kept = b""
        self._is_in_outbox = False

    def write(self, data: bytes) -> None:
        self._kept = self._kept + data if self._kept else data
        if len(self._kept) > MAX_KEPT_BYTES:
            self.flush()
        elif not self._is_in_outbox:
            self._is_in_outbox = True
            self._outbox.add(self)

    def flush(self) -> None:
        self._is_in_outbox = False
        data, self._kept = self._kept, b""
        # Of a connection that was lost meanwhile nothing is left to write to.
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Break off and forget what was not sent: otherwise the kernel would keep megabytes of it for
        a reader that never reads, and he would never learn that he was cut."""
        self._kept = b""
        if (connection := self._transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
