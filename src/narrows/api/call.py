"""One request: its headers, query, body, credential and project, and how its reply is written.

There is one `Call` per request and nothing else; each part is worked out when an endpoint asks for
it, since a send asks for few. Not here: what the endpoints do, and which route it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from narrows.api.checks import integer, page_size
from narrows.api.problems import ClientGone
from narrows.api.routing import Reply, Route, percent_decode
from narrows.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType

if TYPE_CHECKING:
    from narrows.api.app import Api
    from narrows.api.auth import Credential

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: Final = b"application/json"
#: On every reply. A page that needs more says so itself.
POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_COMMON: Final[Headers] = [
    (b"x-api-version", b"v1"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]


class Call:
    """What an endpoint gets. `param` is the decoded event key, prefix, id or token of the path, `inner_param`
    what is named within that."""

    __slots__ = (
        "_query",
        "api",
        "body_bytes",
        "credential",
        "extra_headers",
        "headers",
        "inner_param",
        "is_done",
        "media_type",
        "method",
        "param",
        "policy",
        "project_id",
        "receive",
        "request_id",
        "route",
        "scope",
        "send",
        "sent_bytes",
        "service",
        "status",
    )

    credential: Credential
    route: Route

    def __init__(self, api: Api, scope: Scope, receive: Receive, send: Send) -> None:
        self.api = api
        self.service = api.service
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.param = ""
        self.inner_param = ""
        self.body_bytes = b""
        self.project_id: str | None = None
        self.extra_headers: Headers = []
        self.media_type = JSON
        self.policy = POLICY
        self.status = 0
        self.is_done = False
        self.sent_bytes = 0
        self.request_id = ""
        self._query: dict[str, str] | None = None

    # ---- what came --------------------------------------------------------------------------

    def header(self, name: bytes) -> str | None:
        """A header's text, Latin-1 as HTTP has it."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, decoded strictly; of a repeated one the last counts."""
        if self._query is None:
            self._query = _parse_query(self.scope["query_string"])
        return self._query

    def page(self) -> tuple[int, str | None]:
        """`limit` and `cursor` of a list."""
        return page_size(self.query.get("limit")), self.query.get("cursor") or None

    def integer(self, name: str, default: int) -> int:
        """A whole number of the query."""
        text = self.query.get(name)
        return default if text is None else integer(text, name)

    async def body(self) -> bytes:
        """The whole body, within the route's limit."""
        headers = self.headers
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("A body must come without Content-Encoding; send it uncompressed.")
        message = await self.receive()
        if message["type"] != "http.request":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await self._rest_of_body(body)
        elif len(body) > self.body_limit_bytes:
            raise too_large(self.body_limit_bytes)
        self.body_bytes = body
        return body

    async def _rest_of_body(self, first: bytes) -> bytes:
        parts, size, limit = [first], len(first), self.body_limit_bytes
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientGone
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts)

    @property
    def body_limit_bytes(self) -> int:
        """The settings may move both limits; a route says which of the two is its own."""
        return self.api.limit_bytes(self.route)

    def check_length(self) -> None:
        """Refuse a body that announces itself as too large before any of it is read."""
        length = self.headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > self.body_limit_bytes:
            raise too_large(self.body_limit_bytes)

    # ---- who asks, for what -----------------------------------------------------------------

    def entropy(self) -> int:
        """The random bits of the ids that an operation may make."""
        return int.from_bytes(self.service.clock.random_bytes(8), "big")

    async def project(self, in_body: str | None = None) -> str:
        """The project that this request is about; see `auth.Authenticator.project`."""
        project_id = self.credential.project_id
        names_none = (
            in_body is None and not self.scope["query_string"] and b"x-project-id" not in self.headers
        )
        if project_id is not None and names_none:
            self.project_id = project_id
            return project_id
        self.project_id = await self.api.authenticator.project(self, in_body)
        return self.project_id

    def base_url(self) -> str:
        """How the outside reaches this server. Never from the Host header, which anybody who can
        reach us can set: `public_url`, else the socket's own address."""
        settings = self.api.settings
        if settings.public_url:
            return settings.public_url.rstrip("/")
        server = self.scope.get("server")
        if server is None or server[1] is None:
            return settings.listen_url
        host = f"[{server[0]}]" if ":" in server[0] else server[0]
        return f"{self.scope.get('scheme', 'http')}://{host}:{server[1]}"

    async def perform(self, operation: Any) -> Any:
        """The outcome of an operation, as `Service.perform` has it. What fails from then on fails while the reply is
        made of what was done: see `problems.reply`."""
        outcome = await self.service.perform(operation)
        self.is_done = True
        return outcome

    # ---- what goes --------------------------------------------------------------------------

    def reply_headers(self) -> Headers:
        """The headers that every reply has."""
        return [*_COMMON, self.policy, (b"x-request-id", self.request_id.encode()), *self.extra_headers]

    async def respond(self, reply: Reply) -> None:
        """Write status, headers and body."""
        status, body = reply
        self.status = status
        headers = self.reply_headers()
        if status != 204:
            self.sent_bytes = len(body)
            headers.append((b"content-type", self.media_type))
            headers.append((b"content-length", b"%d" % len(body)))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is over {limit_bytes:,} bytes; send a smaller one.")


def _parse_query(raw: bytes) -> dict[str, str]:
    if not raw:
        return {}
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The query is not valid UTF-8; percent-encode it.") from None
    parameters = {}
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            parameters[_unescape(name)] = _unescape(value)
    return parameters


def _unescape(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return percent_decode(text) if "%" in text else text
