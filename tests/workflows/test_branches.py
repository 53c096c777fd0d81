"""Branches, faults, limits and what people do to a workflow run and its steps."""

from __future__ import annotations

import pytest

from narrows.errors import Conflict
from narrows.operations.reads import CountWorkflowRuns
from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


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


async def test_workflow_runs_are_counted_by_their_states(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(wait("a", key="a:{{n}}"))
        runs = [await flows.start({"n": number}) for number in range(4)]
        await bench.together(bench.sending("a:0", "1"), bench.sending("a:1", "1"))
        await flows.cancel(runs[2])
        await flows.pause(runs[3])
        counts = await bench.store.read(CountWorkflowRuns())
        assert counts == {
            "running": 0,
            "paused": 1,
            "completed": 2,
            "failed": 0,
            "timed_out": 0,
            "canceled": 1,
        }
