"""Where the server is and how it is spoken to: the settings that both clients share, checked once.
The API key goes into the HTTP client's headers and nowhere else. Not here: sending."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from narrows import __version__
from narrows.client.pace import Pace, SystemPace
from narrows.client.steps import Conditions
from narrows.errors import InvalidRequest

DEFAULT_URL = "http://localhost:8080"
CONNECT_SECS = 5.0
#: Idle connections are dropped before common servers drop them (5 s), so none dies in our hands.
IDLE_SECS = 4.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_HEADER_VALUE = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`options` are the keyword arguments of the HTTP client; they hold the key and are never shown."""

    url: str
    conditions: Conditions
    uds: str | None
    options: Any
    #: Neither TLS nor a proxy of the environment stands between.
    is_plain: bool

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"


def connect(
    *,
    url: str | None,
    api_key: str | None,
    project_id: str | None,
    uds: str | None,
    pace: Pace | None,
    retry_secs: float,
    reconnect_secs: float,
) -> Connection:
    """Settle the settings: arguments first, then NARROWS_URL and NARROWS_API_KEY, then the default."""
    if url is None:
        url = DEFAULT_URL if uds is not None else os.environ.get("NARROWS_URL") or DEFAULT_URL
    url = url.rstrip("/")
    is_https, is_local = _check_url(url)
    shown = url if uds is None else f"the socket {uds}"
    return Connection(
        url=url,
        conditions=Conditions(
            pace=pace or SystemPace(), url=shown, retry_secs=retry_secs, reconnect_secs=reconnect_secs
        ),
        uds=uds,
        options={
            "headers": _headers(api_key, project_id),
            "follow_redirects": False,
            # Without TLS the certificates need not be read, which costs 60 ms; proxies of the
            # environment have no business between a program and its own machine.
            "verify": is_https,
            "trust_env": not (is_local or uds is not None),
        },
        is_plain=uds is not None or (not is_https and (is_local or not _has_proxies())),
    )


def _has_proxies() -> bool:
    """Whether the environment may name a proxy, for whatever address."""
    return any(name.lower() in {"http_proxy", "all_proxy"} for name in os.environ)


def _check_url(url: str) -> tuple[bool, bool]:
    """Whether it is https and whether it is this machine. A faulty URL is not repeated in the error:
    it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidRequest("The server's URL is no URL; write it like http://localhost:8080.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequest(
            "The server's URL is no http or https address; write it like http://localhost:8080."
        )
    if "@" in parts.netloc:
        raise InvalidRequest(
            "The server's URL holds a user name; give the API key as api_key= or NARROWS_API_KEY."
        )
    return parts.scheme == "https", parts.hostname in LOOPBACK


def _headers(api_key: str | None, project_id: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"narrows-python/{__version__}", "Accept": "application/json"}
    key = os.environ.get("NARROWS_API_KEY") if api_key is None else api_key
    if key:
        if not _HEADER_VALUE.fullmatch(key):
            raise InvalidRequest(
                "The API key holds characters that no key has; was it copied whole, without spaces?"
            )
        headers["Authorization"] = f"Bearer {key}"
    if project_id:
        if not _HEADER_VALUE.fullmatch(project_id):
            raise InvalidRequest("project_id holds characters that no project id has.")
        headers["X-Project-Id"] = project_id
    return headers
