"""One realistic example for the request and the reply of every route, for the OpenAPI document and
the page made from it. The tests hold each against its schema. Not here: the schemas."""

from __future__ import annotations

from typing import Any, Final

from narrows.api.reference.run_examples import RUN_EXAMPLES
from narrows.api.reference.workflow_examples import WORKFLOW_EXAMPLES

WAIT_ID: Final = "0195f3c4-7a1e-7b42-9c0d-3f5a6b7c8d9e"
HELD_ID: Final = "0195f3c4-8d20-7d11-8a44-1b2c3d4e5f60"
KEY_ID: Final = "06ad7gq5j4f1k2m3"
TOKEN: Final = "mQ2xVb7Yk0Lr5TzE9uNw3HsJc8PdGfA1oXiK4vRt6eB"  # noqa: S105 -- opens nothing
PROJECT: Final = "shop"
EVENT_KEY: Final = "approval:order_1042"
SCOPES: Final = ["events:read", "events:send"]

_WAITING: Final[dict[str, Any]] = {
    "id": WAIT_ID,
    "event_key": EVENT_KEY,
    "project_id": "default",
    "source_type": "job_run",
    "status": "waiting",
    "request_payload": {"order": 1042, "total": "189.00"},
    "timeout_secs": 3600,
    "requested_at": "2026-11-23T20:40:44.123456Z",
    "expires_at": "2026-11-23T21:40:44.123456Z",
    "trigger_type": "event",
    "waiter": "client",
}
_RECEIVED: Final = _WAITING | {
    "status": "received",
    "response_payload": {"approved": True, "by": "ada@example.com"},
    "received_at": "2026-11-23T20:52:10.5Z",
    "settled_at": "2026-11-23T20:52:10.5Z",
    "sent_by": f"key:{KEY_ID}",
}
_CANCELED: Final = _WAITING | {
    "status": "canceled",
    "error": "canceled by user",
    "settled_at": "2026-11-23T20:52:10.5Z",
}
_EXTENDED: Final = _WAITING | {"timeout_secs": 7200, "expires_at": "2026-11-23T22:52:10.5Z"}
_HELD: Final[dict[str, Any]] = {
    "id": HELD_ID,
    "event_key": "payment:inv_77",
    "project_id": "default",
    "held": True,
    "held_until": "2026-11-24T20:40:44.123456Z",
}
_HELD_ROW: Final = _HELD | {
    "held_at": "2026-11-23T20:40:44.123456Z",
    "event_id": "evt_8812",
    "payload": {"paid": True},
    "sent_by": f"key:{KEY_ID}",
}
_UNMATCHED: Final[dict[str, Any]] = {
    "id": "0195f3c4-9e31-7a02-b7c6-5d4e3f2a1b0c",
    "event_key": "aproval:order_1042",
    "project_id": "default",
    "reason": "no_wait",
    "arrived_at": "2026-11-23T20:41:02.7Z",
    "sent_by": f"key:{KEY_ID}",
}
_API_KEY: Final[dict[str, Any]] = {
    "id": KEY_ID,
    "scopes": SCOPES,
    "created_at": "2026-11-23T20:40:44.123456Z",
    "project_id": "shop",
    "name": "checkout",
}
#: Spelled in two parts, or it would look like a secret to whoever searches the code for secrets.
_SECRET: Final = _API_KEY | {"key": "nrw_" + f"{KEY_ID}_{TOKEN}_5d41402a"}
_SIGNING_SECRET: Final = "whsec_" + f"{TOKEN}="
_PROJECT: Final = {"id": PROJECT, "created_at": "2026-11-23T20:40:44.123456Z", "name": "The shop"}
_DELIVERY: Final[dict[str, Any]] = {
    "id": "0195f3c4-9f10-7c33-8b2a-6c5d4e3f2a1b",
    "project_id": PROJECT,
    "trigger_id": WAIT_ID,
    "type": "trigger.settled",
    "url": "https://shop.example.com/hooks/narrows",
    "status": "pending",
    "attempts": 2,
    "last_status": 503,
    "error": "the address answered 503",
    "created_at": "2026-11-23T20:52:10.5Z",
    "next_attempt_at": "2026-11-23T20:53:08.1Z",
}
_SEND: Final[dict[str, Any]] = {"payload": {"approved": True, "by": "ada@example.com"}}
_OK: Final = {"status": "ok"}


def _page(*rows: Any) -> dict[str, Any]:
    return {"data": list(rows), "has_more": False}


#: A problem of each status, as a client sees it.
PROBLEMS: Final[dict[int, tuple[str, str]]] = {
    400: ("invalid_request", "timeout_secs must not be negative."),
    401: ("unauthenticated", "No API key was given; send the header `Authorization: Bearer <API key>`."),
    403: ("forbidden", "This API key lacks the scope events:send; use one that has it."),
    404: ("not_found", "Nothing waits under this key, and nothing ever did."),
    409: ("conflict", "This trigger is timed_out already; it takes no event any more."),
    410: ("gone", "The run 0195f3c4-6b02-7f10-8d21-4e5f6a7b8c9d is canceled. Stop working on it."),
    413: ("payload_too_large", "The body is over 1,048,576 bytes; send a smaller one."),
    415: ("unsupported_media_type", "A body must come without Content-Encoding; send it uncompressed."),
    422: ("schema_mismatch", "The payload does not fit the schema of the wait, which stays open."),
    429: ("limit_reached", "1,000 events are held under this key, which is the limit."),
    500: ("internal", "Something failed inside the server; it was logged under this request_id."),
    503: ("unavailable", "The server's queue is full. Send again in a moment."),
    504: (
        "outcome_unknown",
        "The outcome of the commit is unknown. Ask for the trigger before you send again.",
    ),
}


def problem(status: int) -> dict[str, str]:
    """What a refusal of this status looks like."""
    code, sentence = PROBLEMS[status]
    return {"error": sentence, "message": sentence, "code": code, "request_id": "req_4f1c9a27"}


#: (method, pattern) -> request and reply; None where there is no such body.
EXAMPLES: Final[dict[tuple[str, str], tuple[Any, Any]]] = {
    ("GET", "/v1/events"): (None, _page(_WAITING)),
    ("POST", "/v1/events"): (
        {"event_key": EVENT_KEY, "timeout_secs": 3600, "request_payload": {"order": 1042, "total": "189.00"}},
        _WAITING,
    ),
    ("GET", "/v1/events/stats"): (
        None,
        {
            "total_count": 1204,
            "waiting_count": 17,
            "received_count": 1150,
            "timed_out_count": 31,
            "canceled_count": 6,
            "avg_wait_duration_secs": 412.7,
        },
    ),
    ("POST", "/v1/events/batch"): (
        {
            "events": [
                {"event_key": EVENT_KEY, "payload": {"approved": True}},
                {"event_key": "payment:inv_77", "payload": {"paid": True}, "hold_secs": 86400},
            ]
        },
        {"results": [{"status": 200, "trigger": _RECEIVED}, {"status": 202, "held": _HELD}]},
    ),
    ("POST", "/v1/events/purge"): (
        {"older_than_days": 30, "dry_run": True},
        {"deleted": 0, "dry_run": True, "would_delete": 412},
    ),
    ("POST", "/v1/events/prefix/{prefix}/send"): (
        {"payload": {"done": True}},
        {"resolved": 1, "triggers": [_RECEIVED]},
    ),
    ("GET", "/v1/events/{eventKey}"): (None, _WAITING),
    ("DELETE", "/v1/events/{eventKey}"): (None, _CANCELED),
    ("GET", "/v1/events/{eventKey}/stream"): (None, _RECEIVED),
    ("POST", "/v1/events/{eventKey}/send"): (_SEND, _RECEIVED),
    ("GET", "/v1/triggers/{id}"): (None, _WAITING),
    ("DELETE", "/v1/triggers/{id}"): (None, _CANCELED),
    ("POST", "/v1/triggers/{id}/send"): (_SEND, _RECEIVED),
    ("POST", "/v1/triggers/{id}/extend"): ({"timeout_secs": 7200}, _EXTENDED),
    ("GET", "/v1/triggers/{id}/wait"): (None, _RECEIVED),
    ("GET", "/v1/triggers/{id}/stream"): (None, _RECEIVED),
    ("POST", "/v1/triggers/{id}/callback-urls"): (
        {},
        {
            "id": "0195f3c5-0b7d-7c9e-a1f2-9e8d7c6b5a40",
            "trigger_id": WAIT_ID,
            "callback_url": f"https://narrows.example.com/h/{TOKEN}",
        },
    ),
    ("GET", "/v1/held-events"): (None, _page(_HELD_ROW)),
    ("DELETE", "/v1/held-events/{id}"): (None, _HELD_ROW | {"held": False}),
    ("GET", "/v1/unmatched-events"): (None, _page(_UNMATCHED)),
    ("GET", "/v1/explain"): (
        None,
        {
            "event_key": EVENT_KEY,
            "project_id": "default",
            "lines": [
                "The key has been waiting for 35 s.",
                "An event came for aproval:order_1042, a near key.",
            ],
            "trigger": _WAITING,
            "near_keys": ["aproval:order_1042"],
        },
    ),
    ("POST", "/v1/stream-tokens"): (
        {"event_key": EVENT_KEY},
        {
            "token": TOKEN,
            "trigger_id": WAIT_ID,
            "expires_at": "2026-11-23T21:40:44.123456Z",
            "stream_url": f"https://narrows.example.com/v1/triggers/{WAIT_ID}/stream?token={TOKEN}",
        },
    ),
    ("GET", "/v1/deliveries"): (None, _page(_DELIVERY)),
    ("POST", "/v1/deliveries/{id}/retry"): (
        {},
        _DELIVERY | {"next_attempt_at": "2026-11-23T20:52:41.9Z"},
    ),
    ("POST", "/v1/projects"): (
        {"id": PROJECT, "name": "The shop"},
        _PROJECT | {"signing_secret": _SIGNING_SECRET},
    ),
    ("GET", "/v1/projects"): (None, _page(_PROJECT)),
    ("POST", "/v1/projects/{id}/rotate-secret"): (
        {"overlap_secs": 86400},
        {"signing_secret": _SIGNING_SECRET, "old_until": "2026-11-24T20:52:10.5Z"},
    ),
    ("POST", "/v1/api-keys"): ({"scopes": SCOPES, "project_id": "shop", "name": "checkout"}, _SECRET),
    ("GET", "/v1/api-keys"): (None, _page(_API_KEY)),
    ("DELETE", "/v1/api-keys/{id}"): (None, _API_KEY | {"revoked_at": "2026-11-23T20:52:10.5Z"}),
    ("POST", "/v1/api-keys/{id}/rotate"): ({"overlap_secs": 86400}, _SECRET),
    ("GET", "/h/{token}"): (
        None,
        {"message": "This is the callback address of a wait. POST any JSON body here."},
    ),
    ("POST", "/h/{token}"): (
        {"action": "closed", "number": 77},
        {"id": WAIT_ID, "status": "received", "received_at": "2026-11-23T20:52:10.5Z"},
    ),
    ("GET", "/livez"): (None, _OK),
    ("GET", "/readyz"): (None, _OK),
    ("GET", "/version"): (
        None,
        {"name": "narrows", "version": "0.1.0", "api_version": "v1", "schema_version": 1},
    ),
    **RUN_EXAMPLES,
    **WORKFLOW_EXAMPLES,
}
