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


async def test_a_canceled_workflow_run_leaves_nothing_open(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(step("a"), step("b"), wait("c"), step("d", "c"))
        (claimed,) = await flows.claim(1)
        await flows.cancel(run_id)
        assert await flows.states(run_id) == "xxxx"
        assert {run.status for run in await flows.job_runs(run_id)} == {"canceled"}
        assert (await bench.get("c")).status == "canceled"
        assert await bench.service.perform(flows.finishing(claimed, 1)) is None
        with pytest.raises(Conflict, match="already canceled"):
            await flows.cancel(run_id)


async def test_a_failed_step_is_tried_again_after_its_pause(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job(max_attempts=5)
        run_id = await flows.begin(
            step("a", retry_max_attempts=2, retry_backoff="fixed", retry_delay_secs=10)
        )
        await flows.work(error="broken", retry=True)
        assert await flows.states(run_id) == "d"
        await flows.after(9)
        assert await flows.states(run_id) == "d"
        await flows.after(2)
        assert await flows.states(run_id) == "r"
        await flows.work(error="broken again", retry=True)
        run = await flows.run(run_id)
        assert (run.status, run.steps) == ("failed", "f")
        row = (await flows.steps(run_id))["a"]
        assert (row.attempt, row.error) == (2, "broken again")
        again = await flows.again(run_id)
        assert await flows.states(again) == "r"
        await flows.work(1)
        assert (await flows.run(again)).retry_of == run_id
        assert await flows.status(again) == "completed"


async def test_conditions_are_asked_beside_the_writer_and_branch(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(
            wait("in", key="in:{{payload.id}}"),
            step("big", "in", condition="outputs['in'].n > 10"),
            step("small", "in", condition="outputs['in'].n <= 10"),
            step("bad", "in", condition="outputs['in'].missing > 1", on_failure="continue"),
            step("end", "big", "small", condition="statuses.big == 'skipped'"),
        )
        run_id = await flows.start({"id": 1})
        await bench.send("in:1", '{"n":3}')
        assert await flows.states(run_id) == "csrfp"
        await flows.work()
        assert await flows.states(run_id) == "cscfr"
        other = await flows.start({"id": 2})
        # Beside another in one commit: only what asks is asked again.
        outcomes = await flows.together(bench.sending("in:2", '{"n":30}'), bench.opening("z"))
        assert not [each for each in outcomes if isinstance(each, Exception)]
        assert (await flows.states(other))[:3] == "crs"


async def test_an_output_transform_and_one_that_finds_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(
            wait("a", output_transform="$.items[*].id"),
            wait("b", output_transform="$.missing", on_failure="continue"),
        )
        await bench.send("a", '{"items":[{"id":1.50},{"id":2}]}')
        await bench.send("b", "{}")
        assert (await flows.steps(run_id))["a"].output == "[1.50,2]"
        assert (await flows.steps(run_id))["b"].error == "its output_transform finds nothing"
        assert (await flows.run(run_id)).steps == "cf"


async def test_what_does_not_resolve_or_cannot_start_fails_its_step_and_says_why(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await bench.open("taken")
        run_id = await flows.begin(
            wait("in"),
            wait("a", "in", key="x:{{parent_outputs.in.gone}}", on_failure="continue"),
            wait("b", "in", key="taken", on_failure="continue"),
            step("c", "in", job_slug="nobody", on_failure="continue"),
        )
        await bench.send("in", "{}")
        rows = await flows.steps(run_id)
        assert "{{parent_outputs.in.gone}}" in (rows["a"].error or "")
        assert "taken" in (rows["b"].error or "")
        assert "nobody" in (rows["c"].error or "")
        assert await flows.states(run_id) == "cfff"
        assert await flows.status(run_id) == "completed"


async def test_while_paused_what_goes_on_ends_and_nothing_new_starts(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(
            wait("a", timeout_secs=60), step("b", "a"), step("c", type="sleep", sleep_duration="10s")
        )
        await flows.pause(run_id)
        await bench.send("a")
        await flows.after(11)
        assert (await flows.status(run_id), await flows.states(run_id)) == ("paused", "cqc")
        await flows.pause(run_id, False)
        assert (await flows.status(run_id), await flows.states(run_id)) == ("running", "crc")


async def test_a_step_is_skipped_or_tried_again_by_hand_while_its_run_lives(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(
            wait("a"), step("b", on_failure="skip_dependents"), step("c", "b"), wait("hold", key="h")
        )
        await flows.skip(run_id, "a")
        assert (await bench.get("a")).status == "canceled"
        with pytest.raises(Conflict, match="already skipped"):
            await flows.skip(run_id, "a")
        await flows.work(error="no", retry=False)
        assert await flows.states(run_id) == "sfsw"
        await flows.retry(run_id, "b")
        assert await flows.states(run_id) == "srpw"
        await flows.work(1)
        assert await flows.states(run_id) == "scrw"


async def test_two_who_skip_in_one_commit_are_told_apart(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(wait("a"), wait("b"))
        one, two = await flows.skipping(run_id, "a"), await flows.skipping(run_id, "a")
        outcomes = await bench.together(one, two)
        assert not isinstance(outcomes[0], Exception)
        assert "already skipped" in str(outcomes[1])


async def test_a_workflow_run_is_over_at_its_time(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(wait("a", timeout_secs=0), timeout_secs=100)
        await flows.after(99)
        assert await flows.status(run_id) == "running"
        await flows.after(2)
        assert (await flows.status(run_id), await flows.states(run_id)) == ("timed_out", "x")
        assert (await bench.get("a")).status == "canceled"


async def test_at_most_so_many_jobs_run_at_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(*(step(f"s{n}") for n in range(5)), max_parallel_steps=2)
        seen = []
        while await flows.status(run_id) == "running":
            seen.append(await flows.states(run_id))
            assert await flows.work() <= 2
        assert seen == ["rrqqq", "ccrrq", "ccccr"]


async def test_large_payloads_and_outputs_are_kept_once_and_go_with_their_run(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        text = "x" * 5_000
        run_id = await flows.begin(
            wait("a"), step("b", "a", payload={"copy": "{{parent_outputs.a.text}}"}), payload={"p": text}
        )
        await bench.send("a", f'{{"text":"{text}"}}')
        (run,) = await flows.claim()
        await bench.service.perform(flows.finishing(run, {"result": text}))
        assert await flows.output(run_id, "a") == {"text": text}
        assert await flows.output(run_id, "b") == {"result": text}
        assert await flows.status(run_id) == "completed"
