"""HTTP/1.1 over a few kept connections, for workers: a general HTTP library spends more on a request
than the server needs to answer it. One request at a time on a connection, plain TCP or a local socket.
No TLS, proxies, redirects or cookies: where those are wanted, `line.py` goes through the client's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httptools

from narrows.client.connection import CONNECT_SECS, IDLE_SECS
from narrows.client.steps import Lost, Reply, Request

#: How long, after our half of a connection is closed, an answer already on its way may take.
LAST_ANSWER_SECS = 2.0


class Wire:
    """Connections to one server, at most `most` in use at once; for one event loop."""

    def __init__(self, url: str, headers: Mapping[str, str], *, uds: str | None = None, most: int) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._uds = parts.hostname or "", parts.port or 80, uds
        self._prefix = parts.path.encode()
        fixed = {"Host": parts.netloc, "Accept-Encoding": "identity"} | dict(headers)
        self._authorization = fixed.pop("Authorization", None)
        self._fixed = "".join(f"\r\n{name}: {value}" for name, value in fixed.items()).encode()
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Link] = []
        self._busy: set[_Link] = set()

    async def exchange(self, request: Request) -> Reply | Lost:
        """Send a request and read its whole reply. A caller that is cancelled costs the connection."""
        async with self._free:
            link = self._take_idle()
            if link is None:
                connected = await self._connect(min(CONNECT_SECS, request.answer_secs))
                if isinstance(connected, Lost):
                    return connected
                link = connected
            self._busy.add(link)
            try:
                answer = await link.exchange(self._spell(request), request.answer_secs)
            finally:
                self._busy.discard(link)
                link.rest()
                if link.is_open:
                    self._idle.append(link)
            return answer

    def finish(self) -> None:
        """Ask for no more: each request that is still waiting gets the answer that is on its way, if any."""
        for link in self._busy:
            link.finish()

    def close(self) -> None:
        """Close all connections, the used ones too."""
        for link in (*self._idle, *self._busy):
            link.close()
        self._idle.clear()

    def _take_idle(self) -> _Link | None:
        while self._idle:
            link = self._idle.pop()
            if link.is_open and link.idle_secs() < IDLE_SECS:
                return link
            link.close()
        return None

    async def _connect(self, secs: float) -> _Link | Lost:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(secs):
                if self._uds is not None:
                    return (await loop.create_unix_connection(_Link, self._uds))[1]
                return (await loop.create_connection(_Link, self._host, self._port))[1]
        except TimeoutError:
            return Lost(f"no connection within {secs:g} s", sent=False)
        except OSError as error:
            return Lost(f"{type(error).__name__}: {error}", sent=False)

    def _spell(self, request: Request) -> bytes:
        """The request as its bytes. Everything in it is ASCII by now, and holds no line ends."""
        headers = request.headers
        if self._authorization is not None and "Authorization" not in headers:
            headers = {**headers, "Authorization": self._authorization}
        own = "".join(f"\r\n{name}: {value}" for name, value in headers.items()).encode("ascii")
        body = request.body or b""
        start = b"%s %s%s HTTP/1.1" % (request.method.encode(), self._prefix, request.target.encode("ascii"))
        return b"%s%s%s\r\nContent-Length: %d\r\n\r\n%s" % (start, self._fixed, own, len(body), body)


class _Link(asyncio.Protocol):
    """One connection: the protocol that asyncio calls, and the sink of the parser."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._answer: asyncio.Future[Reply | Lost] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at = self._loop.time()
        self._forget()

    def _forget(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._has_begun = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def idle_secs(self) -> float:
        return self._loop.time() - self._at

    async def exchange(self, sent: bytes, answer_secs: float) -> Reply | Lost:
        self._forget()
        self._at = self._loop.time()
        self._answer = self._loop.create_future()
        self._transport.write(sent)
        self._timer = self._loop.call_later(answer_secs, self._look, answer_secs)
        return await self._answer

    def rest(self) -> None:
        """The exchange is over. Where it has no answer, this connection can have no other exchange."""
        if self._timer is not None:
            self._timer.cancel()
        if self._answer is None or not self._answer.done() or self._answer.cancelled():
            self.close()
        self._answer = None

    def finish(self) -> None:
        """Close our half: a server that has not answered yet sees that nobody waits any more."""
        if self.is_open and self._transport.can_write_eof():
            self._transport.write_eof()
            self._loop.call_later(LAST_ANSWER_SECS, self.close)
        else:
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._settle(Lost("the connection was closed", sent=True))

    def _settle(self, answer: Reply | Lost) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _look(self, answer_secs: float) -> None:
        """Too long a silence ends the exchange; one that was broken starts anew."""
        silent_secs = self.idle_secs()
        if silent_secs + 0.001 < answer_secs:
            self._timer = self._loop.call_later(answer_secs - silent_secs, self._look, answer_secs)
            return
        self._settle(Lost(f"no answer for {answer_secs:g} s", sent=True))
        self.close()

    # ---- called by asyncio -------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._settle(Lost(f"the answer is no HTTP ({error})", sent=True))
            self.close()

    def eof_received(self) -> None:
        """A reply without a length ends with the connection."""
        lengths = {"content-length", "transfer-encoding"}
        if self._has_begun and not lengths & self._headers.keys():
            self.on_message_complete()
        self._settle(Lost("the server closed the connection", sent=True))

    def connection_lost(self, error: Exception | None) -> None:
        reason = "the server closed the connection" if error is None else f"{type(error).__name__}: {error}"
        self._settle(Lost(reason, sent=True))

    # ---- called by the parser ----------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_begun = True

    def on_body(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            self._headers, self._body, self._has_begun = {}, [], False
            return
        keeps = self._parser.should_keep_alive()
        self._settle(Reply(status, self._headers, b"".join(self._body)))
        if not keeps and self._transport is not None:
            self._transport.close()
