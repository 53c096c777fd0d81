"""What people decide of the steps of a workflow run: approve, reject, skip, try again."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.config import Config
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


async def test_enough_approvals_complete_a_step(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, approval("a", min_approvals=2), wait("b", "a"))
        first = await act(client, run, "steps/a/approve", {"approver": "ada", "comment": "go\non"})
        assert (first.status, first.json["status"], first.json["attempt"]) == (200, "waiting", 1)
        assert first.json["votes"] == [
            {"approver": "ada", "approved": True, "comment": "go\non", "at": first.json["votes"][0]["at"]}
        ]
        again = await act(client, run, "steps/a/approve", {"approver": "ada"})
        assert (again.status, again.json) == (200, first.json)  # the same again changes nothing
        second = await act(client, run, "steps/a/approve", {"approver": "grace"})
        assert (second.json["status"], len(second.json["votes"])) == ("completed", 2)
        assert second.json["output"] == {
            "approved_by": ["ada", "grace"], "comments": [{"approver": "ada", "comment": "go\non"}],
        }  # fmt: skip
        assert await statuses(client, run) == {"": "running", "a": "completed", "b": "waiting"}


async def test_one_rejection_fails_a_step(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, approval("a", min_approvals=2, on_failure="continue"), wait("b", "a"))
        await act(client, run, "steps/a/approve", {"approver": "ada"})
        rejected = await act(client, run, "steps/a/reject", {"approver": "grace", "comment": "not today"})
        assert (rejected.status, rejected.json["status"]) == (200, "failed")
        assert rejected.json["error"] == "rejected by grace: not today"
        assert [each["approved"] for each in rejected.json["votes"]] == [True, False]
        assert await statuses(client, run) == {"": "running", "a": "failed", "b": "waiting"}


async def test_without_an_approver_it_is_whoever_asks(config: Config) -> None:
    async with opened(config, dev=False) as client:
        key = await make_api_key(client, "a", "*")
        await make_workflow(client, approval("a", approvers=[f"key:{key[4:20]}", "ada"]), key=key)
        other = await make_api_key(client, "a", "*", number=2)
        run = await trigger(client, key=key)
        assert (await act(client, run, "steps/a/approve", key=other)).status == 403
        approved = await act(client, run, "steps/a/approve", key=key)
        assert (approved.status, approved.json["votes"][0]["approver"]) == (200, f"key:{key[4:20]}")


async def test_who_is_not_asked_is_403_and_a_second_thought_409(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, approval("a", approvers=["ada", "grace"], min_approvals=2))
        stranger = await act(client, run, "steps/a/approve", {"approver": "bob"})
        assert (stranger.status, stranger.json["code"], "'bob'" in stranger.json["error"]) == (
            403,
            "forbidden",
            True,
        )
        await act(client, run, "steps/a/approve", {"approver": "ada"})
        second = await act(client, run, "steps/a/reject", {"approver": "ada"})
        assert (second.status, "already" in second.json["error"]) == (409, True)
        assert (await look(client, run, "/steps/a"))["status"] == "waiting"


@pytest.mark.parametrize(
    "body",
    [{"approver": ""}, {"approver": "x" * 201}, {"approver": "a\x07"}, {"approver": 7}, {"comment": "x" * 2_001},
     {"comment": []}, {"project_id": 7}],
)  # fmt: skip
async def test_a_decision_that_cannot_be_is_400(config: Config, body: Any) -> None:
    async with opened(config) as client:
        run = await running(client, approval("a"))
        for what in ("approve", "reject"):
            assert (await act(client, run, f"steps/a/{what}", body)).status == 400
        assert "votes" not in await look(client, run, "/steps/a")


async def test_only_an_approval_that_waits_can_be_decided(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, wait("a"), approval("b", "a"), approval("c"))
        await act(client, run, "steps/c/approve")
        for ref, why in (("a", "no approval"), ("b", "pending"), ("c", "completed")):
            for what in ("approve", "reject"):
                refused = await act(client, run, f"steps/{ref}/{what}", {"approver": "new"})
                assert (refused.status, why in refused.json["error"]) == (409, True), (ref, refused.body)
        await client("DELETE", f"/v1/workflow-runs/{run['id']}")
        over = await act(client, run, "steps/b/approve")
        assert (over.status, "canceled" in over.json["error"]) == (409, True)


async def test_no_event_decides_an_approval(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, approval("a"))
        (key,) = (await look(client, run, "/steps/a"))["event_keys"]
        assert key.startswith("approval:a:")
        assert (await client("POST", f"/v1/events/{key}/send", {"payload": True})).status == 409
        assert (await look(client, run, "/steps/a"))["status"] == "waiting"


async def test_a_step_is_skipped_in_whatever_state_it_lives(config: Config) -> None:
    async with opened(config) as client:
        await make_job(client)
        run = await running(
            client, wait("a"), step("b"), approval("c"), wait("d", "a", "b", "c"), wait("e", "d")
        )
        (dispatch,) = await claim(client)
        for ref in "dabc":
            skipped = await act(client, run, f"steps/{ref}/skip")
            assert (skipped.status, skipped.json["status"]) == (200, "skipped"), ref
            assert skipped.json["error"] == "skipped by user"
            assert (await act(client, run, f"steps/{ref}/skip")).status == 409
        assert (await dispatch("heartbeat")).status == 410
        assert (await client("GET", "/v1/events/a")).json["status"] == "canceled"
        await send(client, "e")
        assert (await statuses(client, run))[""] == "completed"
        over = await act(client, run, "steps/e/skip")
        assert (over.status, "completed" in over.json["error"]) == (409, True)


async def test_a_step_that_ended_badly_has_another_turn_while_its_run_lives(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, approval("a", on_failure="skip_dependents"), wait("b", "a"), wait("c"))
        assert (await act(client, run, "steps/a/retry")).status == 409  # it waits
        await act(client, run, "steps/a/reject")
        assert await statuses(client, run) == {"": "running", "a": "failed", "b": "skipped", "c": "waiting"}
        retried = await act(client, run, "steps/a/retry")
        assert (retried.status, retried.json["status"], "votes" in retried.json) == (200, "waiting", False)
        assert await statuses(client, run) == {"": "running", "a": "waiting", "b": "pending", "c": "waiting"}
        await act(client, run, "steps/a/reject")
        await send(client, "c")
        over = await act(client, run, "steps/a/retry")
        assert (over.status, "failed" in over.json["error"]) == (409, True)


async def test_one_idempotency_key_decides_once(config: Config) -> None:
    async with opened(config) as client:
        run = await running(client, approval("a", on_failure="continue"), approval("b", "a"), wait("c"))
        path = "steps/a/reject"
        first = await act(client, run, path, {"approver": "ada"}, idempotency_key="a")
        await act(client, run, "steps/a/retry", idempotency_key="b")
        for key, what in (("a", path), ("b", "steps/a/retry")):
            body = {"approver": "ada"} if key == "a" else None
            again = await act(client, run, what, body, idempotency_key=key)
            assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
            assert again.json["status"] == "waiting"  # as it is now: the repeat has changed nothing
        assert first.json["status"] == "failed"
        other = await act(client, run, path, {"approver": "bob"}, idempotency_key="a")
        assert other.status == 409
        for ref in ("a", "c"):
            answers = [await act(client, run, f"steps/{ref}/skip", idempotency_key="d") for _ in range(2)]
            assert [answer.status for answer in answers] == [200, 200]
            assert answers[1].headers["idempotency-replayed"] == "true"
