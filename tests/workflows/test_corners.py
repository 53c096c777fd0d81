"""Corners where a workflow run could stand still, or hold up others: what is taken, held, full, or at fault."""

from __future__ import annotations

import threading

import pytest

from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import WorkflowVersion
from narrows.operations.definitions import Definitions
from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


async def test_a_chain_of_steps_whose_keys_others_wait_under_is_followed_to_its_end(backend: Backend) -> None:
    """On PostgreSQL each of these keys shows only in its turn whose wait has to be locked."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        keys = [f"k{number}" for number in range(12)]
        for key in keys:
            await bench.open(key, timeout_secs=0)
        chain = [
            wait(key, before, on_failure="continue") for before, key in zip(["in", *keys], keys, strict=False)
        ]
        run_id = await flows.begin(wait("in"), *chain)
        await bench.send("in", "1")
        assert await flows.states(run_id) == "c" + "f" * 12


async def test_large_events_that_were_held_are_looked_into_like_any_other(backend: Backend) -> None:
    """Their payloads stand in rows of their own, which nobody has loaded with the key."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await bench.send("ann", f'{{"who":"ann","text":"{"x" * 2_000}"}}', hold_secs=60)
        await bench.send("bob", '{"who":"bob"}', hold_secs=60)
        await bench.send("veto", f'{{"no":true,"text":"{"x" * 2_000}"}}', hold_secs=60)
        await bench.send("same", f'{{"who":"eve","text":"{"x" * 2_000}"}}', hold_secs=60)
        voting = {"type": "wait_for_all", "distinct_by": "who"}
        run_id = await flows.begin(
            step("held", event_keys=["ann", "bob"], **voting),
            step("later", event_keys=["same", "sent", "never"], count=2, **voting),
            step(
                "vetoed",
                type="wait_for_all",
                event_keys=["veto", "x"],
                veto="payload.no",
                on_failure="continue",
            ),
        )
        assert await flows.states(run_id) == "cwf"
        assert "is a veto" in ((await flows.steps(run_id))["vetoed"].error or "")
        await bench.send("sent", '{"who":"joe"}')
        assert await flows.status(run_id) == "completed"


async def test_too_few_different_voters_are_told_also_where_one_was_held(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        for key in ("a", "b", "c"):
            await bench.send(key, f'{{"who":"eve","text":"{"x" * 2_000}"}}', hold_secs=60)
        run_id = await flows.begin(
            step("v", type="wait_for_all", distinct_by="who", event_keys=["a", "b", "c", "d"], count=3)
        )
        assert (await flows.steps(run_id))["v"].error == "only 1 of 3 events differ in who"


async def test_a_definition_that_is_not_at_hand_is_read_beside_the_writer_once_for_all_who_need_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart. A large one, with a condition at each step, takes seconds."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(
            wait("in", key="in:{{n}}"), wait("then", "in", key="then:{{n}}", condition="payload.n > 0")
        )
        runs = [await flows.start({"n": number}) for number in range(4)]
        bench.service.definitions._kept.clear()
        read, right = [], Definitions.parsed

        def noting(self: Definitions, version: WorkflowVersion, *, keep: bool = True) -> Definition:
            read.append(threading.current_thread().name)
            return right(self, version, keep=keep)

        monkeypatch.setattr(Definitions, "parsed", noting)
        outcomes = await flows.together(*[bench.sending(f"in:{number}", "1") for number in range(4)])
        assert not [each for each in outcomes if isinstance(each, Exception)]
        assert [await flows.states(run_id) for run_id in runs] == ["cs", "cw", "cw", "cw"]
        assert [name.partition("_")[0] for name in read] == ["asyncio"]
