"""The calls about the server itself. None changes anything."""

from __future__ import annotations

from typing import Any

from narrows.client.call import Call
from narrows.wire import messages


def version() -> Call[messages.Version]:
    """What the server is."""
    return Call(method="GET", path="/version", reply=messages.Version)


def live() -> Call[messages.Health]:
    """Whether the process answers at all."""
    return Call(method="GET", path="/livez", reply=messages.Health)


def ready() -> Call[messages.Health]:
    """Whether the server can work; `status` is "ok" or "unavailable", `reasons` say why not.

    Not being ready is an answer and raises nothing. Raises ConnectionFailed where there is none.
    """
    health = messages.Health
    return Call(method="GET", path="/readyz", reply=health, other_replies=((503, health),))


def metrics() -> Call[str]:
    """The metrics, in Prometheus's text format."""
    return Call(method="GET", path="/metrics", reply=str)


def openapi() -> Call[dict[str, Any]]:
    """The OpenAPI description of the server's API."""
    return Call(method="GET", path="/openapi.json", reply=dict[str, Any])


def reference() -> Call[str]:
    """The page that shows the server's API to people, as HTML."""
    return Call(method="GET", path="/docs", reply=str)
