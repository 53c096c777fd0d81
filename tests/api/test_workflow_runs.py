"""Runs of workflows over HTTP: looked at, listed, paused, canceled, tried again. How they are started is in
`test_workflow_triggering.py`, what people decide of their steps in `test_workflow_steps.py`."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.config import Config
from narrows.core.states import Backoff, OnFailure, StepStatus, StepType, WorkflowRunStatus
from narrows.wire import workflow_messages
from tests.api.harness import make_api_key, opened
from tests.api.run_kit import claim, make_job
from tests.api.workflow_kit import (
    act,
    approval,
    look,
    make_workflow,
    running,
    send,
    statuses,
    step,
    trigger,
    wait,
)

NOBODY = "01a20a59-2952-7700-8000-1d650d1b38fa"


def test_the_contract_spells_each_word_as_the_rules_do() -> None:
    for literal, words in (
        (workflow_messages.WorkflowRunStatus, WorkflowRunStatus), (workflow_messages.StepStatus, StepStatus),
        (workflow_messages.StepType, StepType), (workflow_messages.OnFailure, OnFailure),
        (workflow_messages.Backoff, Backoff),
    ):  # fmt: skip
        assert literal.__args__ == tuple(map(str, words))  # type: ignore[attr-defined]


# ---- listed --------------------------------------------------------------------------------------


async def test_runs_are_listed_newest_first_by_status_workflow_and_tag(config: Config) -> None:
    async with opened(config) as client:
        made = await make_workflow(client, wait("a"))
        await make_workflow(client, wait("b"), slug="other")
        first = await trigger(client, payload="x" * 3_000)
        second = await trigger(client, "other", tags={"team": "a"})
        third = await trigger(client, "other", tags={"team": "b"})
        await send(client, "a")

        async def listed(query: str = "") -> list[str]:
            answer = await client("GET", f"/v1/workflow-runs{query}")
            assert answer.status == 200, answer.body
            return [each["id"] for each in answer.json["data"]]

        assert await listed() == [third["id"], second["id"], first["id"]]
        assert await listed("?status=completed") == await listed(f"?workflow={made['id']}") == [first["id"]]
        assert await listed("?workflow=other") == await listed("?tag=team") == [third["id"], second["id"]]
        assert await listed("?tag=team:a&status=failed") == []
        assert await listed("?tag=team:b&workflow=other") == [third["id"]]
        assert await listed("?workflow=none") == []
        page = (await client("GET", "/v1/workflow-runs?limit=2")).json
        assert page["has_more"]
        assert await listed(f"?limit=2&cursor={page['next_cursor']}") == [first["id"]]
        assert await listed(f"?cursor={second['created_at']}") == [first["id"]]


@pytest.mark.parametrize(
    "query",
    ["status=waiting", "status=", "workflow=", "tag=", "parent_workflow_run_id=", "limit=0", "limit=x", "cursor=x"],
)  # fmt: skip
async def test_a_filter_that_cannot_be_is_400(config: Config, query: str) -> None:
    async with opened(config) as client:
        assert (await client("GET", f"/v1/workflow-runs?{query}")).status == 400


# ---- looked at -----------------------------------------------------------------------------------


async def test_steps_are_shown_in_order_also_those_that_never_began(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        steps = [step("late", "done", "waits"), step("done"), wait("waits", "done", event_key="key"),
                 step("never", "waits", condition="false")]  # fmt: skip
        run = await running(client, *steps, payload={"a": 1})
        (dispatch,) = await claim(client)
        assert dispatch.run["payload"] == {"a": 1, "parent_outputs": {}}
        await dispatch("complete", {"result": ["r" * 3_000]})
        shown = await look(client, run, "/steps")
        assert "outputs_left_out" not in shown
        late, done, waits, never = shown["data"]
        assert late == {
            "id": f"{run['id']}:late", "workflow_run_id": run["id"], "step_ref": "late", "step_type": "job",
            "status": "pending", "depends_on": ["done", "waits"],
        }  # fmt: skip
        times = ("created_at", "started_at", "finished_at")
        assert {name: value for name, value in done.items() if name not in times} == {
            "id": f"{run['id']}:done", "workflow_run_id": run["id"], "step_ref": "done", "step_type": "job",
            "status": "completed", "attempt": 1, "output": ["r" * 3_000], "run_id": dispatch.id,
        }  # fmt: skip
        assert run["created_at"] <= done["created_at"] <= done["started_at"] < done["finished_at"]
        assert (waits["status"], waits["event_keys"], waits["depends_on"]) == ("waiting", ["key"], ["done"])
        assert never["status"] == "pending"
        for each in shown["data"]:
            assert await look(client, run, f"/steps/{each['step_ref']}") == each
        await send(client, "key", {"x": 1})
        after = await look(client, run, "/steps/waits")
        assert (after["status"], after["output"], "event_keys" in after) == ("completed", {"x": 1}, False)
        assert (await look(client, run, "/steps/never"))["error"] == "its condition is false"
        job_run = (await client("GET", f"/v1/runs/{dispatch.id}")).json
        assert (job_run["workflow_run_id"], job_run["workflow_step_run_id"]) == (run["id"], done["id"])


async def test_outputs_beyond_the_size_of_a_reply_are_left_out_and_had_one_by_one(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, *(wait(f"s{n}") for n in range(10)))
        for number in range(10):
            await send(client, f"s{number}", "x" * 1_000_000)
        shown = await look(client, run, "/steps")
        assert shown["outputs_left_out"] is True
        assert [("output" in each) for each in shown["data"]] == [True] * 8 + [False] * 2
        assert (await look(client, run, "/steps/s9"))["output"] == "x" * 1_000_000


async def test_the_graph_has_states_depths_and_edges(config: Config) -> None:
    async with opened(config) as client:
        steps = [wait("a"), wait("b"), wait("c", "a", "b", condition="payload.go"), approval("d", "c", "a")]
        run = await running(client, *steps, payload={"go": True})
        await send(client, "a")
        assert await look(client, run, "/graph") == {
            "workflow_run_id": run["id"],
            "status": "running",
            "nodes": [
                {"step_ref": "a", "step_type": "wait_for_event", "status": "completed", "depth": 1},
                {"step_ref": "b", "step_type": "wait_for_event", "status": "waiting", "depth": 1},
                {
                    "step_ref": "c", "step_type": "wait_for_event", "status": "pending", "depth": 2,
                    "condition": "payload.go",
                },
                {"step_ref": "d", "step_type": "approval", "status": "pending", "depth": 3},
            ],
            "edges": [
                {"from": "a", "to": "c"}, {"from": "b", "to": "c"}, {"from": "c", "to": "d"}, {"from": "a", "to": "d"},
            ],
        }  # fmt: skip


async def test_the_timeline_has_the_run_and_its_steps_newest_first(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"), approval("b", "a"))
        await send(client, "a")
        await act(client, run, "steps/b/approve", {"approver": "ada", "comment": "go"})
        whole = await look(client, run, "/timeline")
        told = [(each["kind"], each.get("step_ref")) for each in whole["data"]]
        assert told == [
            ("workflow_run.completed", None), ("step.completed", "b"), ("step.voted", "b"), ("step.waiting", "b"),
            ("step.completed", "a"), ("step.waiting", "a"), ("workflow_run.created", None),
        ]  # fmt: skip
        assert whole["data"][2]["detail"] == {
            "step_ref": "b", "approver": "ada", "approved": True, "comment": "go",
        }  # fmt: skip
        assert (whole["has_more"], whole["data"][-1]["actor"]) == (False, "dev")
        walked: list[Any] = []
        query = "?limit=3"
        while query:
            page = await look(client, run, f"/timeline{query}")
            walked += page["data"]
            query = f"?limit=3&cursor={page['next_cursor']}" if page["has_more"] else ""
        assert walked == whole["data"]


async def test_what_is_not_there_is_404(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"))
        there, gone = f"/v1/workflow-runs/{run['id']}", f"/v1/workflow-runs/{NOBODY}"
        for path in (gone, f"{gone}/steps", f"{gone}/timeline", f"{gone}/graph", f"{gone}/steps/a",
                     f"{there}/steps/b", f"{there}/steps/a%2F"):  # fmt: skip
            assert (await client("GET", path)).status == 404, path
        assert (await client("DELETE", gone)).status == 404
        for path in (f"{gone}/pause", f"{gone}/resume", f"{gone}/retry"):
            assert (await client("POST", path)).status == 404, path
        for path in (f"{gone}/steps/a", f"{there}/steps/b"):
            for what in ("approve", "reject", "skip", "retry"):
                assert (await client("POST", f"{path}/{what}")).status == 404, path
        assert "no step 'b'" in (await client("GET", f"{there}/steps/b")).json["error"]


# ---- steered -------------------------------------------------------------------------------------


async def test_a_run_is_paused_and_goes_on_where_it_has_come_to(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"), wait("b", "a"))
        for _ in range(2):  # one that is paused stays so
            paused = await act(client, run, "pause")
            assert (paused.status, paused.json["status"]) == (200, "paused")
        await send(client, "a")
        assert await statuses(client, run) == {"": "paused", "a": "completed", "b": "queued"}
        assert [
            each["id"] for each in (await client("GET", "/v1/workflow-runs?status=paused")).json["data"]
        ] == [run["id"]]
        for _ in range(2):
            resumed = await act(client, run, "resume")
            assert (resumed.status, resumed.json["status"]) == (200, "running")
        await send(client, "b")
        for what in ("pause", "resume"):
            refused = await act(client, run, what)
            assert (refused.status, "completed" in refused.json["error"]) == (409, True)


async def test_a_run_is_canceled_once_with_all_that_belongs_to_it(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        run = await running(client, wait("a"), step("b"), approval("c", "a"))
        (dispatch,) = await claim(client)
        path = f"/v1/workflow-runs/{run['id']}"
        canceled = await client("DELETE", path)
        assert (canceled.status, canceled.json["status"]) == (200, "canceled")
        assert canceled.json["error"] == "canceled by user"
        again = await client("DELETE", path)
        assert (again.status, "canceled" in again.json["error"]) == (409, True)
        assert await statuses(client, run) == dict.fromkeys(("", "a", "b", "c"), "canceled")
        assert (await client("GET", "/v1/events/a")).json["status"] == "canceled"
        assert (await dispatch("heartbeat")).status == 410


async def test_a_retry_is_a_new_run_that_keeps_what_was_completed(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"), approval("b", "a"), wait("c", "b"), payload="x" * 3_000,
                            timeout_secs=3_600)  # fmt: skip
        lives = await act(client, run, "retry")
        assert (lives.status, "running" in lives.json["error"]) == (409, True)
        await send(client, "a", {"kept": "y" * 3_000})
        await act(client, run, "steps/b/reject", {"comment": "no"})
        failed = await look(client, run)
        assert (failed["status"], "no" in failed["error"]) == ("failed", True)
        await client("PATCH", "/v1/workflows/flow", {"steps": [wait("z")]})
        again = await act(client, run, "retry", idempotency_key="a")
        repeat = await act(client, run, "retry", idempotency_key="a")
        assert (again.status, repeat.status, repeat.json) == (201, 201, again.json)
        new = again.json
        assert (new["retry_of"], new["workflow_version"], new["status"]) == (run["id"], 1, "running")
        assert (new["payload"], new["id"] != run["id"]) == ("x" * 3_000, True)
        assert new["due_at"] > run["due_at"]
        shown = await look(client, new, "/steps")
        assert [each["status"] for each in shown["data"]] == ["completed", "waiting", "pending"]
        assert shown["data"][0]["output"] == {"kept": "y" * 3_000}
        await act(client, new, "steps/b/approve")
        await send(client, "c")
        assert (await act(client, new, "retry")).status == 409  # it was completed


async def test_runs_of_another_project_are_not_there(config: Config) -> None:
    async with opened(config, dev=False) as client:
        mine, other = [await make_api_key(client, name, "*", number=n) for n, name in enumerate("ab", 1)]
        await make_workflow(client, approval("a"), key=mine)
        run = await trigger(client, key=mine)
        path = f"/v1/workflow-runs/{run['id']}"
        for method, tail in (
            ("GET", ""), ("DELETE", ""), ("GET", "/steps"), ("GET", "/steps/a"), ("GET", "/timeline"),
            ("GET", "/graph"), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/retry"),
            ("POST", "/steps/a/approve"), ("POST", "/steps/a/reject"), ("POST", "/steps/a/skip"),
            ("POST", "/steps/a/retry"),
        ):  # fmt: skip
            assert (await client(method, path + tail, key=other)).status == 404, (method, tail)
        assert (await client("GET", "/v1/workflow-runs", key=other)).json["data"] == []
        assert (await client("GET", "/v1/workflow-runs?workflow=flow", key=other)).json["data"] == []
        children = f"/v1/workflow-runs?parent_workflow_run_id={run['id']}"
        assert (await client("GET", children, key=other)).json["data"] == []
        assert (await client("GET", path, key=mine)).json == run
