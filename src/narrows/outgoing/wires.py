"""One connection of our own: opened to an address that the guard has checked and to no other, with the
name in SNI, and with a budget of bytes that may still come. httpcore2 speaks HTTP/1.1 over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from httpcore2 import AsyncNetworkStream, ReadError, WriteError

from narrows.outgoing.urls import Target

#: So much is taken in before it is read; beyond, the sender has to wait.
_UNREAD_BYTES: Final = 256 << 10


#: So much is handed on in one piece: reading thousands of tiny messages in it must not take long.
_READ_BYTES: Final = 4 << 10


class TooMuch(Exception):
    """More came than the budget allows."""


class CannotConnect(Exception):
    """The end of a sentence that begins with the target."""


class Wire(asyncio.Protocol, AsyncNetworkStream):
    """A stream whose reads are counted. Time limits are those of whoever awaits it."""

    def __init__(self) -> None:
        #: Bytes that may still be read; set anew for each request.
        self.budget = 0
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._ended = False
        self._is_broken = False
        self._is_paused = False
        self._may_write = True
        self._change: asyncio.Future[None] | None = None

    # ---- what the event loop calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: those of uvloop are no subclass.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _UNREAD_BYTES and self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._is_broken = exc is not None
        self._transport = None
        self._wake()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._wake()

    # ---- what httpcore2 calls ----------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - of the base
        if self._received:
            await asyncio.sleep(0)  # what is there already must not hold up everybody else
        while not self._received and not self._ended:
            await self._next_change()
        max_bytes = min(max_bytes, _READ_BYTES)
        if self._is_broken and not self._received:
            # Not an end: a body that ends with the connection would be taken for whole.
            raise ReadError("the connection was broken off")
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        self.budget -= len(data)
        if self.budget < 0:
            raise TooMuch
        if self._is_paused and self._transport is not None and len(self._received) <= _UNREAD_BYTES // 2:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - of the base
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(buffer)
        while not self._may_write and not self._ended:
            await self._next_change()
        # An answer may have come before the connection was closed; then it counts.
        if self._ended:
            raise WriteError("the connection was closed")

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        if self._transport is None:
            return
        # A peer that does not read, or does not say goodbye in TLS, is not waited for.
        if self._transport.get_write_buffer_size() or self._transport.get_extra_info("sslcontext"):
            self._transport.abort()
        else:
            self._transport.close()

    def get_extra_info(self, info: str) -> Any:
        """`is_readable` of an idle connection: it was closed, or something came that nobody asked for."""
        if info == "is_readable":
            return bool(self._received) or self._ended
        return None

    # ---- inside ------------------------------------------------------------------------------

    async def _next_change(self) -> None:
        self._change = asyncio.get_running_loop().create_future()
        try:
            await self._change
        finally:
            self._change = None

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


async def open_wire(
    target: Target,
    addresses: Sequence[str],
    tls: ssl.SSLContext | None,
    connect_secs: float,
    check: Callable[[str, str], None],
) -> Wire:
    """Connect to the first of the addresses that answers, in `connect_secs` for all of them. `check` is
    given both ends' addresses before anything is sent."""
    loop = asyncio.get_running_loop()
    until = loop.time() + connect_secs
    fault = CannotConnect("has no address")
    for place, address in enumerate(addresses):
        # None may use up the time of those behind it.
        share_secs = (until - loop.time()) / (len(addresses) - place)
        try:
            async with asyncio.timeout(max(share_secs, 0)):
                return await _open(target, address, tls, check)
        except ssl.SSLCertVerificationError as error:
            fault = CannotConnect(f"has a certificate that is not valid: {error.verify_message}")
        except ssl.SSLError as error:
            fault = CannotConnect(f"does not speak TLS as it should ({error.reason or 'handshake failed'})")
        except TimeoutError:
            fault = CannotConnect(f"did not take the connection within {connect_secs:g} s")
        except ConnectionRefusedError:
            fault = CannotConnect("refused the connection")
        except OSError as error:
            fault = CannotConnect(f"cannot be reached ({error.strerror or type(error).__name__})")
    raise fault


async def _open(
    target: Target, address: str, tls: ssl.SSLContext | None, check: Callable[[str, str], None]
) -> Wire:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as unless_done:
        sock = socket.socket(family, socket.SOCK_STREAM)
        unless_done.callback(sock.close)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, (address, target.port))
        check(sock.getsockname()[0], sock.getpeername()[0])
        _, wire = await loop.create_connection(
            Wire, sock=sock, ssl=tls, server_hostname=target.host if tls is not None else None
        )
        unless_done.pop_all()
    return wire
