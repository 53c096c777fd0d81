"""The turn within a batch: who is asked again when answers are missing, what comes back to whom, and what one
workflow run's fault does to others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from narrows.operations.definitions import Definitions
from narrows.operations.turns import Turns
from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


async def test_only_who_brought_a_question_about_is_asked_and_all_others_commit_meanwhile(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(
            wait("in", key="in:{{id}}"), step("then", "in", condition="payload.id > 1"), slug="asks"
        )
        for number in (1, 2):
            await flows.start({"id": number}, "asks")
        before = len(bench.commits)
        outcomes = await flows.together(
            bench.sending("in:1", "1"), bench.opening("other"), bench.sending("in:2", "1")
        )
        assert not [each for each in outcomes if isinstance(each, Exception)]
        first, *later = bench.commits[before + 1 :]
        assert first.operations == 1
        assert [trigger.event_key for trigger in first.triggers] == ["other"]
        # What was asked comes back as it was answered: in one commit, as a rule.
        assert sum(each.operations for each in later) == 2
        assert sorted(run.steps for each in later for run in each.workflow_runs) == ["cr", "cs"]


async def test_a_fault_in_one_workflow_run_fails_only_what_touches_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(wait("in", key="in:{{id}}"))
        bad, good = await flows.start({"id": 1}), await flows.start({"id": 2})
        right = Turns._turn

        def broken(self, tx, key, noted):  # type: ignore[no-untyped-def]
            if key[1] == bad:
                raise RuntimeError("a fault of ours")
            return right(self, tx, key, noted)

        monkeypatch.setattr(Turns, "_turn", broken)
        outcomes = await bench.together(
            bench.sending("in:1", "1"), bench.sending("in:2", "1"), bench.opening("other")
        )
        assert [isinstance(each, Exception) for each in outcomes] == [True, False, False]
        assert await flows.status(good) == "completed"
        monkeypatch.undo()
        # Nothing was lost by it.
        await bench.send("in:1", "1")
        assert await flows.status(bad) == "completed"


async def test_a_chain_of_false_conditions_is_followed_to_its_end(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        steps = [
            wait(f"s{n}", *([f"s{n - 1}"] if n else []), key=f"k{n}", condition=f"payload.n > {100 + n}")
            for n in range(30)
        ]
        run_id = await flows.begin(*steps, payload={"n": 1})
        assert await flows.states(run_id) == "s" * 30
        assert await flows.status(run_id) == "completed"


async def test_a_veto_and_a_transform_are_asked_of_large_payloads(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(
            step("v", type="wait_for_all", event_keys=["a", "b"], veto="size(payload.text) > 4000"),
            wait("t", key="t", output_transform="$.text"),
        )
        text = "y" * 3_000
        await bench.send("t", f'{{"text":"{text}"}}')
        assert await flows.output(run_id, "t") == text
        await bench.send("a", f'{{"text":"{text}"}}')
        assert await flows.states(run_id) == "wc"
        await bench.send("b", f'{{"text":"{text}{text}"}}')
        assert (await flows.status(run_id), await flows.states(run_id)) == ("failed", "fc")


async def test_a_held_event_that_does_not_fit_the_schema_stays_held(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await bench.send("a", '"no"', hold_secs=60)
        await bench.send("a", "7", hold_secs=60)
        run_id = await flows.begin(wait("a", expected_schema={"type": "integer"}))
        assert await flows.status(run_id) == "completed"
        assert await flows.output(run_id, "a") == 7
        assert (await bench.stats()).held == 1


async def test_copies_of_large_payloads_are_bounded_and_the_step_says_so(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        many = {f"m{n}": "{{payload.text}}" for n in range(30)}
        run_id = await flows.begin(
            step("a", payload=many, on_failure="continue"),
            wait("b", on_failure="continue", request_payload=many),
            wait("c"),
            wait("d"),
            step("e", "c", "d", on_failure="continue"),
            payload={"text": "x" * 50_000},
        )
        text = "y" * 600_000
        await bench.send("c", f'"{text}"')
        await bench.send("d", f'"{text}"')
        rows = await flows.steps(run_id)
        assert "over 1 MiB" in (rows["a"].error or "")
        assert "over 1 MiB" in (rows["b"].error or "")
        assert "parent_outputs is over 1 MiB" in (rows["e"].error or "")
        assert await flows.states(run_id) == "ffccf"


async def test_what_starts_in_one_commit_is_bounded(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        fan = [step(f"s{n}", on_failure="continue") for n in range(60)]
        payload = {"text": "x" * 900_000}
        await flows.define(*fan, slug="all")
        await flows.define(*fan, slug="few", max_parallel_steps=10)
        at_once, few = await flows.start(payload, "all"), await flows.start(payload, "few")
        assert await flows.states(at_once) == "r" * 38 + "f" * 22
        assert "max_parallel_steps" in ((await flows.steps(at_once))["s50"].error or "")
        while await flows.status(few) == "running":
            await flows.work()
        assert await flows.states(few) == "c" * 60


async def test_a_definition_that_is_made_and_started_in_one_commit_is_not_kept_before_that_is_made(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(wait("a", key="a"))
        old = await flows.starting()
        update, new = await flows.updating(wait("b", key="b"))
        kept = []
        right = Definitions.parsed

        def parsed(self, version, *, keep=True):  # type: ignore[no-untyped-def]
            kept.append((version.version, keep))
            return right(self, version, keep=keep)

        monkeypatch.setattr(Definitions, "parsed", parsed)
        bench.service.definitions._kept.clear()
        _, started = await bench.together(update, replace(old, version=2, definition=new))
        assert (await flows.run(started.id)).workflow_version == 2
        assert kept == [(2, False)]
        assert (await bench.get("b")).status == "waiting"
