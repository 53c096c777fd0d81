"""One POST to a target, whatever it does: it comes back with an answer or with a sentence, within its
time and its size. No redirects, cookies or proxies; nothing is decoded. Written once for dispatches
and deliveries. Not here: signatures (`wire/signatures.py`), repeats, what an answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

import httpcore2

from narrows import __version__
from narrows.clock import Clock, SystemClock
from narrows.errors import InvalidRequest
from narrows.outgoing import answers, urls
from narrows.outgoing.answers import Answer, Fault, failed
from narrows.outgoing.guard import Guard
from narrows.outgoing.urls import Target
from narrows.outgoing.wires import CannotConnect, TooMuch, Wire, open_wire

MAX_HEAD_BYTES: Final = 64 << 10
#: How long a connection is kept for its next request: less than common servers keep it, so that none
#: closes it just as a request is sent.
KEEP_SECS: Final = 2.0
#: What comes beside a body: the lengths of its chunks, trailers, interim answers before the head.
_FRAMING_BYTES: Final = 128 << 10
#: What this module sets, and what would change how a request is read.
_OWN_HEADERS: Final = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect", "upgrade", "te", "trailer", "keep-alive", "proxy-connection")
)  # fmt: skip
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[ -~]*", re.ASCII)


class _Connection(httpcore2.AsyncHTTP11Connection):
    MAX_INCOMPLETE_EVENT_SIZE = MAX_HEAD_BYTES

    async def _response_closed(self) -> None:
        # What came behind an answer must not be taken for the answer to the next request.
        if self._h11_state.trailing_data[0]:
            await self.aclose()
        else:
            await super()._response_closed()


class _Line(NamedTuple):
    """A connection and what it runs over."""

    connection: _Connection
    wire: Wire


class _Host:
    """What is under way to one host."""

    def __init__(self, most: int) -> None:
        self.free = asyncio.Semaphore(most)
        self.users = 0


class Caller:
    """`per_host` requests at once go to one host; others wait for their turn, within their own time. Who
    schedules asks `room` first."""

    def __init__(
        self,
        guard: Guard,
        *,
        connect_secs: float = 5,
        per_host: int = 50,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._guard = guard
        self._connect_secs = connect_secs
        self._per_host = per_host
        self._tls = tls
        self._clock = clock or SystemClock()
        self._hosts: dict[str, _Host] = {}
        self._idle: dict[tuple[str, str, int], list[_Line]] = {}

    def room(self, url: str) -> int:
        """How many requests may be sent to the host of this URL now without waiting for one another."""
        try:
            host = self._hosts.get(urls.parse(url).host)
        except InvalidRequest:
            return self._per_host
        return self._per_host - host.users if host is not None else self._per_host

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_secs: float,
        max_answer_bytes: int = 1 << 20,
    ) -> Answer:
        """Never raises for what a target does. With `max_answer_bytes` 0 only the status counts, and no
        body is waited for."""
        name = "The target"
        try:
            target = urls.parse(url)
            name = f"The target {target.authority}"
            self._guard.check_url(url)
            async with asyncio.timeout(timeout_secs), self._turn(target.host):
                return await self._exchange(target, body, headers, max_answer_bytes)
        except TimeoutError:
            return failed(f"{name} did not answer within {timeout_secs:g} s.")
        except TooMuch:
            return failed(f"{name} answered with more than {max_answer_bytes:,} bytes.")
        except (Fault, CannotConnect) as error:
            return failed(f"{name} {error}.")
        except InvalidRequest as error:
            return failed(error.message)
        except httpcore2.ProtocolError:
            return failed(
                f"{name} closed the connection without an answer, or answered with what is not HTTP/1.1 or has"
                f" headers of over {MAX_HEAD_BYTES:,} bytes."
            )
        except (httpcore2.NetworkError, OSError):
            return failed(f"{name} broke off the connection.")

    async def close(self) -> None:
        """Close what is idle. Requests under way end by themselves, or are cancelled by who awaits them."""
        for lines in self._idle.values():
            for line in lines:
                line.wire.close()
        self._idle.clear()

    # ---- one request -------------------------------------------------------------------------

    async def _exchange(self, target: Target, body: bytes, headers: Mapping[str, str], most: int) -> Answer:
        request = httpcore2.Request(
            "POST", _url(target), headers=_headers(target, body, headers), content=body
        )
        line = self._take(target) or await self._open(target)
        line.wire.budget = MAX_HEAD_BYTES + _FRAMING_BYTES
        try:
            response = await line.connection.handle_async_request(request)
            line.wire.budget = most + _FRAMING_BYTES
            answer = await answers.read(response, most, self._clock.now())
            await response.aclose()
            if line.connection.is_idle():
                self._keep(target, line)
            return answer
        finally:
            if not line.connection.is_idle():
                line.wire.close()

    # ---- connections -------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        host = self._hosts.setdefault(name, _Host(self._per_host))
        host.users += 1
        try:
            async with host.free:
                yield
        finally:
            host.users -= 1
            if not host.users:
                del self._hosts[name]

    async def _open(self, target: Target) -> _Line:
        try:
            async with asyncio.timeout(self._connect_secs):
                addresses = await self._guard.addresses(target.host, target.port)
        except TimeoutError:
            raise Fault(f"has a name that was not found within {self._connect_secs:g} s") from None
        except OSError:
            raise Fault("has a name that was not found") from None
        wire = await open_wire(
            target,
            addresses,
            await self._tls_context() if target.scheme == "https" else None,
            self._connect_secs,
            lambda here, there: self._guard.check_connected(target.host, target.port, here, there),
        )
        origin = _url(target).origin
        return _Line(_Connection(origin, wire, keepalive_expiry=KEEP_SECS), wire)

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Reads all certificates of the system.
            self._tls = await asyncio.to_thread(httpcore2.default_ssl_context)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._tls

    def _take(self, target: Target) -> _Line | None:
        lines = self._idle.get(target[:3], [])
        while lines:
            line = lines.pop()
            if not line.connection.has_expired():
                return line
            line.wire.close()
        return None

    def _keep(self, target: Target, line: _Line) -> None:
        self._idle.setdefault(target[:3], []).append(line)
        asyncio.get_running_loop().call_later(KEEP_SECS + 0.1, self._drop_expired, target[:3])

    def _drop_expired(self, key: tuple[str, str, int]) -> None:
        lines = self._idle.get(key, [])
        kept = [line for line in lines if not line.connection.has_expired()]
        for line in lines:
            if line not in kept:
                line.wire.close()
        if kept:
            self._idle[key] = kept
        else:
            self._idle.pop(key, None)


def _url(target: Target) -> httpcore2.URL:
    return httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)


def _headers(target: Target, body: bytes, given: Mapping[str, str]) -> list[tuple[str, str]]:
    headers = {
        "Host": target.authority,
        "User-Agent": f"narrows/{__version__}",
        "Accept": "application/json",
        # What is not packed cannot swell.
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    own = {name.lower(): name for name in headers}
    for name, value in given.items():
        if _HEADER_NAME.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
            raise InvalidRequest(f"The header {name!r} cannot be sent.")
        if name.lower() not in _OWN_HEADERS:
            headers[own.get(name.lower(), name)] = value
    return list(headers.items())
