"""What both clients make of an HTTP library's answers and failures. Everything that knows httpx2 by
name is in this file and in the two clients' own; it is imported when a client is made, so that
`import narrows.client` stays cheap."""

from __future__ import annotations

from typing import Any

import httpx2

from narrows.client.connection import CONNECT_SECS, IDLE_SECS, Connection
from narrows.client.steps import Lost, Reply, Request
from narrows.errors import InvalidRequest

#: The request certainly never left.
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
FAILURES = (httpx2.TransportError, httpx2.DecodingError, httpx2.StreamError)

LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=IDLE_SECS)


def sync_http(connection: Connection, transport: httpx2.BaseTransport | None) -> httpx2.Client:
    if transport is None and connection.uds is not None:
        transport = httpx2.HTTPTransport(uds=connection.uds, limits=LIMITS, verify=False)  # a local socket
    return httpx2.Client(transport=transport, limits=LIMITS, **connection.options)


def async_http(connection: Connection, transport: httpx2.AsyncBaseTransport | None) -> httpx2.AsyncClient:
    if transport is None and connection.uds is not None:
        transport = httpx2.AsyncHTTPTransport(
            uds=connection.uds, limits=LIMITS, verify=False
        )  # a local socket
    return httpx2.AsyncClient(transport=transport, limits=LIMITS, **connection.options)


def build(http: httpx2.Client | httpx2.AsyncClient, url: str, request: Request) -> httpx2.Request:
    """The library's own request."""
    try:
        return http.build_request(
            request.method,
            url + request.target,
            headers=dict(request.headers),
            content=request.body,
            timeout=httpx2.Timeout(request.answer_secs, connect=min(CONNECT_SECS, request.answer_secs)),
        )
    except (httpx2.InvalidURL, UnicodeEncodeError) as error:
        raise InvalidRequest(f"This cannot be sent: {error}.") from None


def reply(response: httpx2.Response, body: bytes) -> Reply:
    return Reply(response.status_code, response.headers, body)


def lost(error: Exception) -> Lost:
    """Why there is no answer, in words that hold no header: those could hold the key."""
    kind = type(error).__name__
    text = "" if isinstance(error, httpx2.LocalProtocolError) else str(error)
    return Lost(f"{kind}: {text}" if text else kind, sent=not isinstance(error, NOT_SENT))


def is_success(response: Any) -> bool:
    """Whether the body of an opened stream is the stream itself."""
    return bool(response.status_code == 200)
