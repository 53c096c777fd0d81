"""A workflow run goes on in the commit of what it waited for: jobs, events, sleeps, and its end."""

from __future__ import annotations

import pytest

from narrows.errors import Conflict, Forbidden
from tests.storage.kit import PROJECT, Backend, opened
from tests.workflows.kit import Workflows, step, wait


async def test_a_job_then_an_event_then_a_job(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(
            step("collect"),
            wait("aml", "collect", key="aml:{{payload.user_id}}"),
            step("create", "aml", payload={"check": "{{parent_outputs.aml.verdict}}"}),
            payload={"user_id": "u1"},
        )
        assert await flows.states(run_id) == "rpp"
        assert await flows.work({"name": "Ann"}) == 1
        assert await flows.states(run_id) == "cwp"
        await bench.send("aml:u1", '{"verdict":"clear"}')
        assert await flows.states(run_id) == "ccr"
        (create,) = [run for run in await flows.job_runs(run_id) if run.status == "queued"]
        assert create.payload == (
            '{"user_id":"u1","check":"clear","parent_outputs":{"aml":{"verdict":"clear"}}}'
        )
        assert await flows.work({"account": 7}) == 1
        run = await flows.run(run_id)
        assert (run.status, run.steps, run.error) == ("completed", "ccc", None)
        assert await flows.output(run_id, "create") == {"account": 7}


async def test_a_fan_out_of_200_waits_ends_by_one_batch_in_any_order_doubled_and_early(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        waits = [wait(f"w{n}", key=f"k{n}") for n in range(200)]
        await bench.send("k7", '"early"', hold_secs=60)
        run_id = await flows.begin(*waits, step("after", *(f"w{n}" for n in range(200))))
        assert await flows.states(run_id) == "w" * 7 + "c" + "w" * 192 + "p"
        order = [n for n in sorted(range(200), key=lambda n: (n * 7919) % 200) if n != 7]
        sends = [bench.sending(f"k{n}", str(n)) for n in order]
        doubled = [bench.sending(f"k{n}", str(n)) for n in order[:20]]
        outcomes = await bench.together(*sends, *doubled)
        assert not [each for each in outcomes if isinstance(each, Exception)]
        assert await flows.states(run_id) == "c" * 200 + "r"
        assert await flows.work() == 1
        assert await flows.status(run_id) == "completed"
        assert await flows.output(run_id, "w7") == "early"
        assert await flows.output(run_id, "w150") == 150


async def test_any_of_several_events_ends_the_wait_and_closes_the_others_in_its_commit(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(step("any", type="wait_for_any", event_keys=["a", "b", "c"]))
        outcomes = await bench.together(bench.sending("b", "1"), bench.sending("a", "2"))
        assert outcomes[0].trigger.status == "received"
        assert "canceled" in str(outcomes[1])
        assert [(await bench.get(key)).status for key in "abc"] == ["canceled", "received", "canceled"]
        assert await flows.status(run_id) == "completed"
        assert await flows.output(run_id, "any") == {"events": [{"event_key": "b", "payload": 1}]}


async def test_two_of_three_different_voters_and_a_veto(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        voting = step(
            "vote",
            type="wait_for_all",
            event_keys=["v1:{{id}}", "v2:{{id}}", "v3:{{id}}"],
            count=2,
            distinct_by="voter",
            veto="payload.vote == 'no'",
        )
        await flows.define(voting)
        agreed, vetoed = await flows.start({"id": 1}), await flows.start({"id": 2})
        await bench.send("v1:1", '{"voter":"ann","vote":"yes"}')
        await bench.send("v2:1", '{"voter":"ann","vote":"yes"}')
        assert await flows.status(agreed) == "running"
        await bench.send("v3:1", '{"voter":"bob","vote":"yes"}')
        assert await flows.status(agreed) == "completed"
        await bench.send("v1:2", '{"voter":"ann","vote":"no"}')
        run = await flows.run(vetoed)
        assert (run.status, run.error) == (
            "failed",
            "the step 'vote' failed: the event for v1:2 is a veto",
        )
        assert (await bench.get("v2:2")).status == "canceled"


async def test_a_sleep_and_a_time_out_go_on_by_the_clock(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(
            step("nap", type="sleep", sleep_duration="30m"),
            wait("late", "nap", timeout_secs=60, on_timeout={"default": {"n": 1}}),
            step("until", "late", type="sleep", until="{{payload.at}}"),
            payload={"at": "2020-01-01T00:00:00Z"},
        )
        await flows.after(1_799)
        assert await flows.states(run_id) == "wpp"
        await flows.after(2)
        assert await flows.states(run_id) == "cwp"
        await flows.after(61)
        assert (await flows.status(run_id), await flows.states(run_id)) == ("completed", "ccc")
        assert await flows.output(run_id, "late") == {"n": 1}


async def test_a_time_out_and_an_event_in_one_batch_count_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(wait("w", timeout_secs=60), wait("other", key="o", timeout_secs=0))
        bench.clock.advance(secs=61)
        late, other = await bench.together(bench.sending("w", "1"), bench.sending("o", "1"))
        assert "timed_out" in str(late)
        # Both had happened before anything followed from either.
        assert other.trigger.status == "received"
        run = await flows.run(run_id)
        assert (run.status, run.steps) == ("failed", "tc")


async def test_an_approval_is_ended_by_decisions_only(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        approval = step("ok", type="approval", approvers=["ann", "bob", "cid"], min_approvals=2)
        await flows.define(approval)
        yes, no = await flows.start(), await flows.start()
        (key, *_) = [each.event_key for each in await bench.listed() if each.workflow_run_id == yes]
        with pytest.raises(Conflict, match="takes no event"):
            await bench.send(key)
        await flows.decide(yes, "ok", True, "ann")
        await flows.decide(yes, "ok", True, "ann")
        with pytest.raises(Forbidden, match="dora"):
            await flows.decide(yes, "ok", True, "dora")
        assert await flows.status(yes) == "running"
        await flows.decide(yes, "ok", True, "bob", comment="fine")
        assert await flows.status(yes) == "completed"
        assert await flows.output(yes, "ok") == {
            "approved_by": ["ann", "bob"],
            "comments": [{"approver": "bob", "comment": "fine"}],
        }
        await flows.decide(no, "ok", False, "cid", comment="too early")
        run = await flows.run(no)
        assert (run.status, run.error) == ("failed", "the step 'ok' failed: rejected by cid: too early")
        with pytest.raises(Conflict, match="already failed"):
            await flows.decide(no, "ok", True, "ann")


async def test_an_emitted_event_is_held_or_wakes_a_waiter_of_the_same_batch(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(step("make", event_emit_key="made:{{payload.id}}"), slug="maker")
        await flows.define(wait("wait", key="made:{{payload.id}}"), slug="waiter")
        first = await flows.start({"id": 1}, "maker")
        assert await flows.work({"n": 1}) == 1
        assert await flows.status(first) == "completed"
        await flows.messages()
        late = await flows.start({"id": 1}, "waiter")
        assert await flows.status(late) == "completed"
        assert await flows.output(late, "wait") == {"n": 1}
        await flows.start({"id": 2}, "maker")
        (run,) = await flows.claim()
        started, _ = await bench.together(
            await flows.starting({"id": 2}, "waiter"), flows.finishing(run, {"n": 2})
        )
        await flows.messages()
        assert await flows.output(started.id, "wait") == {"n": 2}


async def test_a_chain_of_emits_ends_with_a_failure_after_a_hundred_hops(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        waits = [
            wait(f"w{n}", key=f"{n}:{{{{payload.id}}}}", event_emit_key=f"{n + 1}:{{{{payload.id}}}}")
            for n in range(102)
        ]
        run_id = await flows.begin(*waits, payload={"id": "x"})
        await bench.send("0:x")
        # One commit a hop, and at once: nothing is waited for in between.
        assert await flows.messages() == 100
        run = await flows.run(run_id)
        assert (run.status, run.steps) == ("failed", "c" * 100 + "fx")
        assert "number 101 of one chain" in (run.error or "")


async def test_a_sub_workflow_gives_its_last_outputs_and_is_canceled_with_its_parent(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(wait("in"), step("work", "in"), slug="child")
        await flows.define(
            step("sub", type="sub_workflow", workflow_slug="child", payload={"n": "{{payload.n}}"}),
            slug="parent",
        )
        done = await flows.start({"n": 5}, "parent")
        await flows.messages()
        child = await flows.child(done, "sub")
        assert (child.depth, child.payload, child.parent_run_id) == (1, '{"n":5}', done)
        await bench.send("in")
        assert await flows.work({"ok": True}) == 1
        await flows.messages()
        assert await flows.status(done) == "completed"
        assert await flows.output(done, "sub") == {"work": {"ok": True}}
        ended = await flows.start({"n": 6}, "parent")
        await flows.messages()
        await flows.cancel(ended)
        await flows.messages()
        assert (await flows.child(ended, "sub")).status == "canceled"
        before = await flows.start({"n": 7}, "parent")
        await flows.cancel(before)
        await flows.messages()
        assert (
            await flows.bench.rows(
                "workflow_runs_by_id", (PROJECT, (await flows.steps(before))["sub"].child_run_id or "")
            )
            == []
        )
