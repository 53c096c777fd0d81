"""What only time and messages bring about, as the API shows it: sub-workflows, attempts, a limit of time."""

from __future__ import annotations

from typing import Any

from narrows.config import Config
from narrows.engine.consume import ConsumeMessagesRole
from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.workflow_runs_due import ExpireWorkflowRunsRole
from narrows.operations.reads import PendingMessages
from narrows.testing import ManualClock
from tests.api.harness import Client, opened
from tests.api.run_kit import claim, make_job
from tests.api.workflow_kit import act, look, make_workflow, running, send, statuses, step, trigger, wait


async def deliver(client: Client) -> None:
    """All messages between roots are consumed."""
    service = client.api.service
    role = ConsumeMessagesRole(service)
    while await service.read(PendingMessages(1)):
        await role.round()


async def after(client: Client, clock: ManualClock, secs: float) -> None:
    """Time goes on, and what is due by then happens."""
    clock.advance(secs=secs)
    for role in (ExpireTriggersRole(client.api.service), ExpireWorkflowRunsRole(client.api.service)):
        await role.round()


async def test_a_sub_workflow_tells_whose_it_is_and_ends_with_it(config: Config) -> None:
    async with opened(config) as client:
        below = {"type": "sub_workflow", "workflow_slug": "below", "payload": {"n": "{{n}}"}}
        await make_workflow(client, wait("x", event_key="x:{{n}}"), slug="below")
        run = await running(client, step("first", **below), wait("other"), payload={"n": 7})
        await deliver(client)
        shown = await look(client, run, "/steps/first")
        child = await look(client, {"id": shown["child_workflow_run_id"]})
        assert (shown["status"], "run_id" in shown) == ("running", False)
        assert {name: child[name] for name in ("workflow_slug", "payload", "depth", "status")} == {
            "workflow_slug": "below", "payload": {"n": 7}, "depth": 1, "status": "running",
        }  # fmt: skip
        assert (child["parent_workflow_run_id"], child["parent_step_ref"]) == (run["id"], "first")
        for filters, found in (
            (f"parent_workflow_run_id={run['id']}", [child]),
            (f"parent_workflow_run_id={run['id']}&workflow=below&status=running", [child]),
            (f"parent_workflow_run_id={run['id']}&status=failed", []),
            (f"parent_workflow_run_id={child['id']}", []),
        ):
            answer = await client("GET", f"/v1/workflow-runs?{filters}")
            assert answer.json["data"] == found, filters
        await send(client, "x:7", {"done": True})
        await deliver(client)
        ended = await look(client, run, "/steps/first")
        assert (ended["status"], ended["output"]) == ("completed", {"x": {"done": True}})


async def test_canceling_cancels_what_is_below(config: Config) -> None:
    async with opened(config) as client:
        await make_workflow(client, wait("x"), slug="below")
        run = await running(client, step("first", type="sub_workflow", workflow_slug="below"))
        await deliver(client)
        assert (await client("DELETE", f"/v1/workflow-runs/{run['id']}")).status == 200
        await deliver(client)
        listed = (await client("GET", "/v1/workflow-runs?status=canceled")).json["data"]
        assert [each["workflow_slug"] for each in listed] == ["below", "flow"]


async def test_a_step_is_shown_between_its_attempts_and_after_the_end_of_its_run(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        await make_job(client, max_attempts=1)
        run = await running(client, step("a", retry_max_attempts=3, retry_delay_secs=60), wait("b", "a"))
        (dispatch,) = await claim(client)
        await dispatch("fail", {"error": "boom", "retry": False})
        between = await look(client, run, "/steps/a")
        assert (between["status"], between["attempt"]) == ("delayed", 2)
        assert "boom" in between["error"]
        assert not {"finished_at", "output", "event_keys"} & set(between)
        await act(client, run, "pause")
        await after(client, clock, 61)
        assert await statuses(client, run) == {"": "paused", "a": "queued", "b": "pending"}
        await client("DELETE", f"/v1/workflow-runs/{run['id']}")
        assert await statuses(client, run) == dict.fromkeys(("", "a", "b"), "canceled")
        assert [each["status"] for each in (await look(client, run, "/graph"))["nodes"]] == ["canceled"] * 2


async def test_a_run_ends_when_its_time_is_over(config: Config) -> None:
    clock = ManualClock()
    async with opened(config, clock) as client:
        run = await running(client, wait("a"), timeout_secs=60)
        await after(client, clock, 59)
        assert (await look(client, run))["status"] == "running"
        await after(client, clock, 2)
        ended: Any = await look(client, run)
        assert (ended["status"], "error" in ended, "due_at" in ended) == ("timed_out", True, False)
        listed = await client("GET", "/v1/workflow-runs?status=timed_out")
        assert [each["id"] for each in listed.json["data"]] == [run["id"]]
        assert (await trigger(client))["status"] == "running"
