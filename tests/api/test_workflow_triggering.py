"""Runs of workflows started over HTTP: with what, by which version, and once."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.api import workflows
from narrows.config import Config
from tests.api.harness import opened
from tests.api.workflow_kit import look, make_workflow, running, send, started, trigger, wait

NOBODY = "01a20a59-2952-7700-8000-1d650d1b38fa"


async def test_a_run_is_started_and_shown(config: Config) -> None:
    async with opened(config) as client:
        key = "a:{{workflow_run_id}}"
        made = await make_workflow(client, wait("a", event_key=key), timeout_secs=3_600)
        run = await trigger(client, payload={"user": "ada"}, tags={"team": "x"})
        assert run == {
            "id": run["id"], "project_id": "default", "workflow_id": made["id"], "workflow_slug": "flow",
            "workflow_version": 1, "status": "running", "payload": {"user": "ada"}, "tags": {"team": "x"}, "depth": 0,
            "created_by": "dev", "created_at": run["created_at"], "due_at": run["due_at"],
        }  # fmt: skip
        assert run["created_at"] < run["due_at"]
        assert await look(client, run) == run
        by_id = await trigger(client, made["id"])
        assert not {"payload", "tags", "error", "finished_at"} & set(by_id)
        await send(client, f"a:{run['id']}", 1)
        ended = await look(client, run)
        assert (ended["status"], ended["finished_at"] > run["created_at"], "due_at" in ended) == (
            "completed", True, False,
        )  # fmt: skip


@pytest.mark.parametrize("payload", [None, 0, False, "x" * 5_000, [1.5, {"a": None}]])
async def test_any_payload_comes_back_as_it_was_sent(config: Config, payload: Any) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"), payload=payload)
        assert run["payload"] == (await look(client, run))["payload"] == payload
        (listed,) = (await client("GET", "/v1/workflow-runs")).json["data"]
        assert listed["payload"] == payload


async def test_a_payload_that_lacks_what_steps_need_is_told_of_all_of_it(config: Config) -> None:
    async with opened(config) as client:
        steps = [
            wait("a", event_key="a:{{payload.user.id}}"),
            wait("b", "a", event_key="{{order}}:{{parent_outputs.a.x}}"),
        ]
        await make_workflow(client, *steps)
        answer = await client("POST", "/v1/workflows/flow/trigger", {"payload": {"user": {}}})
        assert answer.status == 400
        (first, second) = answer.json["details"]
        assert ("'a'" in first, "payload.user.id" in first) == (True, True)
        assert ("'b'" in second, "order" in second) == (True, True)
        assert (await client("GET", "/v1/workflow-runs")).json["data"] == []
        run = await trigger(client, payload={"user": {"id": 7}, "order": 1})
        assert (await look(client, run, "/steps"))["data"][0]["event_keys"] == ["a:7"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"tags": {"a": 1}}, "tags"), ({"tags": {"": "x"}}, "tag"), ({"tags": "x"}, "tags"),
        ({"idempotency_key": ""}, "idempotency_key"), ({"idempotency_key": "x" * 256}, "idempotency_key"),
        ({"idempotency_key": "ä"}, "Idempotency-Key"), ({"idempotency_key": 7}, "idempotency_key"),
        ({"project_id": 7}, "project_id"),
    ],
)  # fmt: skip
async def test_what_cannot_be_started_is_400(config: Config, body: Any, said: str) -> None:
    async with opened(config) as client:
        await make_workflow(client)
        answer = await client("POST", "/v1/workflows/flow/trigger", body)
        assert (answer.status, said in answer.json["error"]) == (400, True), answer.body
        assert (await client("GET", "/v1/workflow-runs")).json["data"] == []


async def test_what_is_not_there_cannot_be_started(config: Config) -> None:
    async with opened(config) as client:
        for named in ("nothing", NOBODY):
            for body in ({}, {"idempotency_key": "a"}):
                answer = await client("POST", f"/v1/workflows/{named}/trigger", body)
                assert (answer.status, named in answer.json["error"]) == (404, True)


async def test_a_workflow_that_changes_while_it_is_started_is_started_by_its_new_version(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(config) as client:
        made = await make_workflow(client, wait("a"))
        read, changes = workflows._newest, ["second", "third"]

        async def outrun(*asked: Any) -> Any:
            found = await read(*asked)
            if changes:
                await client("PATCH", f"/v1/workflows/{made['id']}", {"name": changes.pop(0)})
            return found

        monkeypatch.setattr(workflows, "_newest", outrun)
        assert (await trigger(client))["workflow_version"] == 3
        changes += [f"name {n}" for n in range(20)]
        given_up = await client("POST", "/v1/workflows/flow/trigger", {})
        assert (given_up.status, "keeps changing" in given_up.json["error"]) == (503, True)
        assert await started(client) == 1


# ---- once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [1, "x" * 5_000])
async def test_a_key_starts_one_run_whether_it_comes_as_a_header_or_in_the_body(
    config: Config, payload: Any
) -> None:
    async with opened(config) as client:
        await make_workflow(client)
        path, plain = "/v1/workflows/flow/trigger", {"payload": payload}
        keyed = plain | {"idempotency_key": "in-body"}
        asked: tuple[tuple[Any, Any], ...] = (
            (plain, {"idempotency_key": "as-header"}), (keyed, {}), (keyed, {"idempotency_key": "in-body"}),
        )  # fmt: skip
        for body, header in asked:
            first = await client("POST", path, body, **header)
            again = await client("POST", path, body, **header)
            assert (first.status, again.status, again.json) == (201, 201, first.json)
            assert again.headers["idempotency-replayed"] == "true"
        assert await started(client) == 2  # the last is a repeat of the one before it
        for body, header in asked:
            changed = await client("POST", path, body | {"payload": 2}, **header)
            assert (changed.status, "another body" in changed.json["error"]) == (409, True)
        differing = await client("POST", path, keyed, idempotency_key="another")
        assert (differing.status, "differ" in differing.json["error"]) == (400, True)
        assert await started(client) == 2


async def test_a_repeat_shows_the_run_as_it_is_by_then(config: Config) -> None:
    async with opened(config) as client:
        await make_workflow(client, wait("a"))
        path = "/v1/workflows/flow/trigger"
        first = await client("POST", path, {}, idempotency_key="a")
        await send(client, "a")
        again = await client("POST", path, {}, idempotency_key="a")
        assert (again.json["id"], again.json["status"]) == (first.json["id"], "completed")


async def test_a_repeat_is_answered_also_when_it_could_not_be_started_any_more(config: Config) -> None:
    async with opened(config) as client:
        await make_workflow(client, wait("a"))
        path = "/v1/workflows/flow/trigger"
        first = await client("POST", path, {}, idempotency_key="a")
        await client("PATCH", "/v1/workflows/flow", {"steps": [wait("a", event_key="{{payload.x}}")]})
        assert (await client("POST", path, {}, idempotency_key="b")).status == 400
        assert (await client("POST", path, {}, idempotency_key="a")).json["id"] == first.json["id"]
        await client("DELETE", "/v1/workflows/flow")
        assert (await client("POST", path, {}, idempotency_key="b")).status == 404
        again = await client("POST", path, {}, idempotency_key="a")
        assert (again.status, again.json["id"]) == (201, first.json["id"])
