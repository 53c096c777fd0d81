"""Which Host and Origin headers are answered. `narrows dev` needs no key, so that a web page of
somebody else must not reach it: by another name for this machine (DNS rebinding, 421) or from
another origin (403). Elsewhere keys protect, and origins matter for CORS only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from narrows.errors import Forbidden, MisdirectedRequest

if TYPE_CHECKING:
    from narrows.api.call import Call
    from narrows.api.settings import ApiSettings

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_EXPOSED: Final = b"X-Request-Id, X-API-Version, Idempotency-Replayed, Retry-After"
_ALLOWED: Final = b"Authorization, Content-Type, Idempotency-Key, X-Idempotency-Key, X-Project-Id, X-Request-Id, Last-Event-ID"


class Origins:
    """The two allow-lists, asked for each request."""

    __slots__ = ("_cors", "_dev", "_hosts")

    def __init__(self, settings: ApiSettings) -> None:
        self._dev = settings.dev
        self._cors = frozenset(settings.cors_origins)
        hosts = {*_LOCAL, *(host.lower() for host in settings.allowed_hosts)}
        if settings.public_url:
            hosts.add(_host_name(urlsplit(settings.public_url).netloc))
        self._hosts = frozenset(hosts)

    def check(self, call: Call) -> None:
        """Raises MisdirectedRequest or Forbidden; adds the CORS headers where the origin is listed."""
        if self._dev:
            self._check_host(call.header(b"host"))
        origin = call.header(b"origin")
        if origin is None:
            return
        if self._is_listed(origin):
            call.extra_headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", _EXPOSED),
                (b"vary", b"Origin"),
            ]
        elif self._dev and not self._is_local(origin):
            raise Forbidden("narrows dev answers local origins only; list others in NARROWS_CORS_ORIGINS.")

    def is_preflight(self, call: Call) -> bool:
        """Whether this is the question of a browser that may come from a listed origin."""
        return (
            call.method == "OPTIONS"
            and b"access-control-request-method" in call.headers
            and self._is_listed(call.header(b"origin"))
        )

    def allow_preflight(self, call: Call) -> None:
        call.extra_headers += [
            (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE"),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-max-age", b"600"),
        ]

    def _check_host(self, host: str | None) -> None:
        # Every browser sends a Host; without one it is an old client, and no rebinding.
        if host is not None and _host_name(host) not in self._hosts:
            raise MisdirectedRequest("narrows dev answers to local names only; use http://localhost.")

    def _is_listed(self, origin: str | None) -> bool:
        return origin is not None and (origin in self._cors or "*" in self._cors)

    def _is_local(self, origin: str) -> bool:
        scheme, separator, host = origin.partition("://")
        return separator == "://" and scheme in ("http", "https") and _host_name(host) in self._hosts


def _host_name(host: str) -> str:
    """The name without its port; an IPv6 address keeps its brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0].rstrip(".")
