"""Workflows over HTTP, for tests: definitions in short words, and what is asked of their runs."""

from __future__ import annotations

from typing import Any

from tests.api.harness import Answer, Client


def step(ref: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    """A job's step, unless it is said otherwise."""
    kind = {} if {"type", "step_type"} & set(fields) else {"job_slug": "job"}
    after = {"depends_on": list(depends_on)} if depends_on else {}
    return {"step_ref": ref, **kind, **after, **fields}


def wait(ref: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return step(ref, *depends_on, **{"type": "wait_for_event", "event_key": ref, **fields})


def approval(ref: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return step(ref, *depends_on, type="approval", **fields)


def definition(*steps: dict[str, Any], slug: str = "flow", **fields: Any) -> dict[str, Any]:
    return {"slug": slug, "steps": list(steps) or [wait("a")], **fields}


async def make_workflow(client: Client, *steps: dict[str, Any], key: str | None = None, **fields: Any) -> Any:
    answer = await client("POST", "/v1/workflows", definition(*steps, **fields), key=key)
    assert answer.status == 201, answer.body
    return answer.json


async def trigger(client: Client, slug: str = "flow", key: str | None = None, **fields: Any) -> Any:
    answer = await client("POST", f"/v1/workflows/{slug}/trigger", fields, key=key)
    assert answer.status == 201, answer.body
    return answer.json


async def running(client: Client, *steps: dict[str, Any], **fields: Any) -> Any:
    """A workflow run of a workflow that has just been made."""
    payload = {"payload": fields.pop("payload")} if "payload" in fields else {}
    made = await make_workflow(client, *steps, **fields)
    return await trigger(client, made["slug"], **payload)


async def send(client: Client, event_key: str, payload: Any = None) -> None:
    answer = await client("POST", f"/v1/events/{event_key}/send", {"payload": payload})
    assert answer.status == 200, answer.body


async def act(client: Client, run: Any, what: str, body: Any = None, **more: Any) -> Answer:
    """`what` is the end of the path: `pause`, `steps/a/approve`."""
    return await client("POST", f"/v1/workflow-runs/{run['id']}/{what}", body, **more)


async def look(client: Client, run: Any, tail: str = "") -> Any:
    answer = await client("GET", f"/v1/workflow-runs/{run['id']}{tail}")
    assert answer.status == 200, answer.body
    return answer.json


async def statuses(client: Client, run: Any) -> dict[str, str]:
    """How the run and its steps stand; the run itself has no name."""
    shown = await look(client, run, "/steps")
    return {"": (await look(client, run))["status"]} | {
        each["step_ref"]: each["status"] for each in shown["data"]
    }


async def slugs(client: Client, **more: Any) -> list[str]:
    """Of all workflows, the newest first."""
    return [each["slug"] for each in (await client("GET", "/v1/workflows", **more)).json["data"]]


async def started(client: Client) -> int:
    """How many runs there are."""
    return len((await client("GET", "/v1/workflow-runs")).json["data"])
