"""The examples of jobs, runs, workers and the run plane, for `examples.py`."""

from __future__ import annotations

from typing import Any, Final

JOB: Final = "ship-order"
JOB_ID: Final = "0195f3c0-11aa-7c01-9d3e-2a1b0c9d8e7f"
RUN_ID: Final = "0195f3c4-6b02-7f10-8d21-4e5f6a7b8c9d"
_EVENT_KEY: Final = "approval:order_1042"
_TRIGGER_ID: Final = "0195f3c4-7a1e-7b42-9c0d-3f5a6b7c8d9e"
_TOKEN: Final = "mQ2xVb7Yk0Lr5TzE9uNw3HsJc8PdGfA1oXiK4vRt6eB"  # noqa: S105 -- opens nothing
_SIGNING_SECRET: Final = "whsec_" + f"{_TOKEN}="

_JOB: Final[dict[str, Any]] = {
    "id": JOB_ID,
    "project_id": "default",
    "slug": JOB,
    "name": "Ship an order",
    "timeout_secs": 300,
    "max_attempts": 3,
    "max_concurrency": 20,
    "created_at": "2026-11-23T20:30:00.5Z",
    "updated_at": "2026-11-23T20:30:00.5Z",
}
_QUEUED: Final[dict[str, Any]] = {
    "id": RUN_ID,
    "project_id": "default",
    "job_id": JOB_ID,
    "status": "queued",
    "priority": 0,
    "attempt": 1,
    "max_attempts": 3,
    "dispatches": 0,
    "timeout_secs": 300,
    "payload": {"order": 1042},
    "created_by": "key:06ad7gq5j4f1k2m3",
    "created_at": "2026-11-23T20:40:40.25Z",
}
_DISPATCHED: Final = _QUEUED | {"dispatches": 1, "dispatched_at": "2026-11-23T20:40:40.26Z"}
_WAITING: Final = _DISPATCHED | {"status": "waiting", "waiting_for": [_TRIGGER_ID]}
_COMPLETED: Final = _DISPATCHED | {
    "status": "completed",
    "dispatches": 2,
    "result": {"shipped": True},
    "dispatched_at": "2026-11-23T20:52:10.51Z",
    "finished_at": "2026-11-23T20:52:11.8Z",
}
_CANCELED: Final = _DISPATCHED | {
    "status": "canceled",
    "error": "canceled by user",
    "finished_at": "2026-11-23T20:45:00.1Z",
}
_REPLAYED: Final = _QUEUED | {
    "id": "0195f3d9-0c11-7b55-8e77-1f2e3d4c5b6a",
    "replay_of": RUN_ID,
    "created_at": "2026-11-23T21:03:00.4Z",
}
_RECEIVED: Final[dict[str, Any]] = {
    "id": _TRIGGER_ID,
    "event_key": _EVENT_KEY,
    "project_id": "default",
    "source_type": "job_run",
    "job_run_id": RUN_ID,
    "status": "received",
    "response_payload": {"approved": True, "by": "ada@example.com"},
    "timeout_secs": 3600,
    "requested_at": "2026-11-23T20:40:44.123456Z",
    "received_at": "2026-11-23T20:52:10.5Z",
    "expires_at": "2026-11-23T21:40:44.123456Z",
    "trigger_type": "event",
    "sent_by": "key:06ad7gq5j4f1k2m3",
    "settled_at": "2026-11-23T20:52:10.5Z",
}
_CHECKPOINT: Final[dict[str, Any]] = {"state": {"step": "approved?"}, "event": _RECEIVED}
_CLAIMED: Final = _DISPATCHED | {"status": "executing", "dispatches": 2, "holder": "worker:shop-3"}
_LEASE: Final = "2026-11-23T20:53:10.51Z"
_EXECUTING: Final = {"status": "executing"}
_EVENTS: Final = [
    {
        "id": "0195f3c4-7a1e-7b42-9c0d-3f5a6b7c8da0",
        "kind": "run.waiting",
        "at": "2026-11-23T20:40:44.123456Z",
        "actor": f"run:{RUN_ID}",
        "detail": {"event_keys": [_EVENT_KEY]},
    },
    {
        "id": "0195f3c4-6b02-7f10-8d21-4e5f6a7b8ca1",
        "kind": "run.created",
        "at": "2026-11-23T20:40:40.25Z",
        "actor": "key:06ad7gq5j4f1k2m3",
    },
]
_GRANTED: Final[dict[str, Any]] = {
    "event_key": _EVENT_KEY,
    "expires_at": "2026-11-23T21:40:44.123456Z",
    "trigger_id": _TRIGGER_ID,
    "callback_url": f"https://narrows.example.com/h/{_TOKEN}",
}
_SLEEPING: Final[dict[str, Any]] = {
    "status": "waiting",
    "event_key": f"sleep:{RUN_ID}:1",
    "expires_at": "2026-11-24T20:40:44.123456Z",
    "trigger_id": _TRIGGER_ID,
}
_SDK: Final = "/sdk/v1/runs/{runID}"


def _page(*rows: Any) -> dict[str, Any]:
    return {"data": list(rows), "has_more": False}


#: (method, pattern) -> request and reply; None where there is no such body.
RUN_EXAMPLES: Final[dict[tuple[str, str], tuple[Any, Any]]] = {
    ("GET", "/v1/jobs"): (None, _page(_JOB)),
    ("POST", "/v1/jobs"): (
        {"slug": JOB, "name": "Ship an order", "max_concurrency": 20},
        _JOB | {"signing_secret": _SIGNING_SECRET},
    ),
    ("GET", "/v1/jobs/{job}"): (None, _JOB),
    ("PATCH", "/v1/jobs/{job}"): ({"timeout_secs": 600}, _JOB | {"timeout_secs": 600}),
    ("DELETE", "/v1/jobs/{job}"): (None, _JOB),
    ("POST", "/v1/jobs/{job}/rotate-secret"): (
        {"overlap_secs": 86400},
        {"signing_secret": _SIGNING_SECRET, "old_until": "2026-11-24T20:52:10.5Z"},
    ),
    ("POST", "/v1/jobs/{job}/trigger"): ({"payload": {"order": 1042}}, _QUEUED),
    ("GET", "/v1/runs"): (None, _page(_WAITING)),
    ("GET", "/v1/runs/{id}"): (None, _WAITING),
    ("DELETE", "/v1/runs/{id}"): (None, _CANCELED),
    ("GET", "/v1/runs/{id}/events"): (None, _page(*_EVENTS)),
    ("GET", "/v1/runs/{id}/wait"): (None, _COMPLETED),
    ("POST", "/v1/runs/{id}/replay"): ({}, _REPLAYED),
    ("POST", "/v1/workers/claim"): (
        {"jobs": [JOB], "limit": 10, "wait_secs": 30, "worker": "shop-3"},
        {
            "runs": [
                {
                    "run": _CLAIMED,
                    "job_slug": JOB,
                    "run_token": "nrt_" + f"ZGVmYXVsdAAy_{_TOKEN}",
                    "lease_until": _LEASE,
                    "checkpoint": _CHECKPOINT,
                }
            ]
        },
    ),
    ("GET", _SDK + "/checkpoint"): (None, _CHECKPOINT),
    ("POST", _SDK + "/checkpoint"): ({"state": {"step": "approved?"}}, _EXECUTING),
    ("POST", _SDK + "/log"): ({"message": "asked for approval", "level": "info"}, _EXECUTING),
    ("POST", _SDK + "/progress"): ({"percent": 40, "message": "labels printed"}, _EXECUTING),
    ("POST", _SDK + "/heartbeat"): ({}, _EXECUTING | {"lease_until": _LEASE}),
    ("POST", _SDK + "/complete"): ({"result": {"shipped": True}}, {"status": "completed"}),
    ("POST", _SDK + "/fail"): ({"error": "the carrier answered 503"}, {"status": "delayed"}),
    ("POST", _SDK + "/sleep"): ({"duration_secs": 86400}, _SLEEPING),
    ("POST", _SDK + "/wait-for-event"): (
        {"event_key": _EVENT_KEY, "timeout_secs": 3600, "callback_url": True, "on_timeout": "resume"},
        {"status": "waiting"} | _GRANTED,
    ),
    ("POST", _SDK + "/release"): ({}, {"status": "queued"}),
}
