"""The examples of workflows and their runs, for `examples.py`."""

from __future__ import annotations

from typing import Any, Final

WORKFLOW: Final = "deploy-gate"
WORKFLOW_ID: Final = "0195f3c0-21bb-7d12-8e4f-3b2c1d0e9f8a"
WORKFLOW_RUN_ID: Final = "0195f3c4-5c03-7e20-9f32-5f6a7b8c9dae"
STEP_REF: Final = "sign-off"
_RUN_ID: Final = "0195f3c4-6b02-7f10-8d21-4e5f6a7b8c9d"
_BY: Final = "key:06ad7gq5j4f1k2m3"
_EVENT_KEY: Final = "qa-signoff:1042"

_STEPS: Final[list[dict[str, Any]]] = [
    {"step_ref": "build", "job_slug": "build"},
    {
        "step_ref": "qa",
        "step_type": "wait_for_event",
        "event_key": "qa-signoff:{{payload.release}}",
        "event_timeout_secs": 604800,
        "depends_on": ["build"],
    },
    {
        "step_ref": STEP_REF,
        "step_type": "approval",
        "approvers": ["ada", "grace"],
        "depends_on": ["qa"],
        "condition": "outputs.qa.passed",
    },
]
_DEFINITION: Final[dict[str, Any]] = {"slug": WORKFLOW, "name": "Deploy gate", "steps": _STEPS}
_LISTED: Final[dict[str, Any]] = {
    "id": WORKFLOW_ID,
    "project_id": "default",
    "slug": WORKFLOW,
    "name": "Deploy gate",
    "version": 1,
    "created_at": "2026-11-23T20:30:00.5Z",
    "updated_at": "2026-11-23T20:30:00.5Z",
}
_WORKFLOW: Final = _LISTED | {"timeout_secs": 0, "max_parallel_steps": 0, "steps": _STEPS}
_UPDATED: Final = _WORKFLOW | {
    "version": 2,
    "timeout_secs": 1209600,
    "updated_at": "2026-11-23T20:35:00.1Z",
}
_RUNNING: Final[dict[str, Any]] = {
    "id": WORKFLOW_RUN_ID,
    "project_id": "default",
    "workflow_id": WORKFLOW_ID,
    "workflow_slug": WORKFLOW,
    "workflow_version": 1,
    "status": "running",
    "payload": {"release": 1042},
    "depth": 0,
    "created_by": _BY,
    "created_at": "2026-11-23T20:40:40.25Z",
}
_CANCELED: Final = _RUNNING | {
    "status": "canceled",
    "error": "canceled by user",
    "finished_at": "2026-11-23T20:45:00.1Z",
}
_RETRIED: Final = _RUNNING | {
    "id": "0195f3d9-1d22-7c66-9f88-2a3f4e5d6c7b",
    "retry_of": WORKFLOW_RUN_ID,
    "created_at": "2026-11-23T21:03:00.4Z",
}
_BUILT: Final[dict[str, Any]] = {
    "id": f"{WORKFLOW_RUN_ID}:build",
    "workflow_run_id": WORKFLOW_RUN_ID,
    "step_ref": "build",
    "step_type": "job",
    "status": "completed",
    "attempt": 1,
    "output": {"image": "shop:1042"},
    "run_id": _RUN_ID,
    "created_at": "2026-11-23T20:40:40.25Z",
    "started_at": "2026-11-23T20:40:40.25Z",
    "finished_at": "2026-11-23T20:44:02.7Z",
}
_WAITING: Final[dict[str, Any]] = {
    "id": f"{WORKFLOW_RUN_ID}:qa",
    "workflow_run_id": WORKFLOW_RUN_ID,
    "step_ref": "qa",
    "step_type": "wait_for_event",
    "status": "waiting",
    "attempt": 1,
    "depends_on": ["build"],
    "event_keys": [_EVENT_KEY],
    "created_at": "2026-11-23T20:44:02.7Z",
    "started_at": "2026-11-23T20:44:02.7Z",
}
_PENDING: Final[dict[str, Any]] = {
    "id": f"{WORKFLOW_RUN_ID}:{STEP_REF}",
    "workflow_run_id": WORKFLOW_RUN_ID,
    "step_ref": STEP_REF,
    "step_type": "approval",
    "status": "pending",
    "depends_on": ["qa"],
}
_ASKED: Final = _PENDING | {
    "attempt": 1,
    "created_at": "2026-11-24T09:12:00.3Z",
    "started_at": "2026-11-24T09:12:00.3Z",
}
_ENDED: Final = _ASKED | {"finished_at": "2026-11-24T10:01:30.9Z"}
_APPROVED: Final = _ENDED | {
    "status": "completed",
    "output": {"approved_by": ["ada"], "comments": [{"approver": "ada", "comment": "go"}]},
    "votes": [{"approver": "ada", "approved": True, "comment": "go", "at": "2026-11-24T10:01:30.9Z"}],
}
_REJECTED: Final = _ENDED | {
    "status": "failed",
    "error": "rejected by ada: not on a Friday",
    "votes": [
        {"approver": "ada", "approved": False, "comment": "not on a Friday", "at": "2026-11-24T10:01:30.9Z"}
    ],
}
_SKIPPED: Final = _ENDED | {"status": "skipped", "error": "skipped by user"}
_EVENTS: Final = [
    {
        "id": "0195f3c7-3f1e-7b42-9c0d-3f5a6b7c8db2",
        "kind": "step.completed",
        "step_ref": "build",
        "at": "2026-11-23T20:44:02.7Z",
        "actor": "worker:shop-3",
        "detail": {"step_ref": "build"},
    },
    {
        "id": "0195f3c4-5c03-7e20-9f32-5f6a7b8c9daf",
        "kind": "workflow_run.created",
        "at": "2026-11-23T20:40:40.25Z",
        "actor": _BY,
    },
]
_GRAPH: Final[dict[str, Any]] = {
    "workflow_run_id": WORKFLOW_RUN_ID,
    "status": "running",
    "nodes": [
        {"step_ref": "build", "step_type": "job", "status": "completed", "depth": 1},
        {"step_ref": "qa", "step_type": "wait_for_event", "status": "waiting", "depth": 2},
        {
            "step_ref": STEP_REF,
            "step_type": "approval",
            "status": "pending",
            "depth": 3,
            "condition": "outputs.qa.passed",
        },
    ],
    "edges": [{"from": "build", "to": "qa"}, {"from": "qa", "to": STEP_REF}],
}
_ONE: Final = "/v1/workflows/{workflow}"
_RUN: Final = "/v1/workflow-runs/{id}"
_STEP: Final = "/v1/workflow-runs/{id}/steps/{step_ref}"


def _page(*rows: Any) -> dict[str, Any]:
    return {"data": list(rows), "has_more": False}


#: (method, pattern) -> request and reply; None where there is no such body.
WORKFLOW_EXAMPLES: Final[dict[tuple[str, str], tuple[Any, Any]]] = {
    ("GET", "/v1/workflows"): (None, _page(_LISTED)),
    ("POST", "/v1/workflows"): (_DEFINITION, _WORKFLOW),
    ("POST", "/v1/workflows/dry-run"): (
        _DEFINITION,
        {
            "valid": True,
            "order": ["build", "qa", STEP_REF],
            "depth": 3,
            "faults": [],
            "notes": ["Step 'build' names the job 'build', which is not there yet."],
        },
    ),
    ("GET", _ONE): (None, _WORKFLOW),
    ("PATCH", _ONE): ({"timeout_secs": 1209600}, _UPDATED),
    ("DELETE", _ONE): (None, _LISTED),
    ("POST", _ONE + "/trigger"): ({"payload": {"release": 1042}}, _RUNNING),
    ("GET", "/v1/workflow-runs"): (None, _page(_RUNNING)),
    ("GET", _RUN): (None, _RUNNING),
    ("DELETE", _RUN): (None, _CANCELED),
    ("GET", _RUN + "/steps"): (None, {"data": [_BUILT, _WAITING, _PENDING]}),
    ("GET", _RUN + "/timeline"): (None, _page(*_EVENTS)),
    ("GET", _RUN + "/graph"): (None, _GRAPH),
    ("POST", _RUN + "/pause"): ({}, _RUNNING | {"status": "paused"}),
    ("POST", _RUN + "/resume"): ({}, _RUNNING),
    ("POST", _RUN + "/retry"): ({}, _RETRIED),
    ("GET", _STEP): (None, _ASKED | {"status": "waiting"}),
    ("POST", _STEP + "/approve"): ({"approver": "ada", "comment": "go"}, _APPROVED),
    ("POST", _STEP + "/reject"): ({"approver": "ada", "comment": "not on a Friday"}, _REJECTED),
    ("POST", _STEP + "/skip"): ({}, _SKIPPED),
    ("POST", _STEP + "/retry"): ({}, _ASKED | {"status": "waiting"}),
}
