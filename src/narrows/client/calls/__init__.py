"""Every endpoint as one function that makes a pure `Call`; the clients are columns over these."""

from narrows.client.calls.access import (
    create_api_key,
    create_project,
    create_stream_token,
    list_api_keys,
    list_projects,
    revoke_api_key,
    rotate_api_key,
)
from narrows.client.calls.events import (
    delete_held_event,
    held_events,
    hold,
    send,
    send_batch,
    send_prefix,
    send_to_callback,
    show_callback,
    unmatched_events,
)
from narrows.client.calls.server import live, metrics, openapi, ready, reference, version
from narrows.client.calls.triggers import (
    cancel,
    create_callback_url,
    explain,
    extend,
    get,
    list,  # noqa: A004 - the same verb everywhere: route, method, command
    open,  # noqa: A004 - as above
    purge,
    stats,
    wait_once,
)

__all__ = [
    "cancel",
    "create_api_key",
    "create_callback_url",
    "create_project",
    "create_stream_token",
    "delete_held_event",
    "explain",
    "extend",
    "get",
    "held_events",
    "hold",
    "list",
    "list_api_keys",
    "list_projects",
    "live",
    "metrics",
    "open",
    "openapi",
    "purge",
    "ready",
    "reference",
    "revoke_api_key",
    "rotate_api_key",
    "send",
    "send_batch",
    "send_prefix",
    "send_to_callback",
    "show_callback",
    "stats",
    "unmatched_events",
    "version",
    "wait_once",
]
