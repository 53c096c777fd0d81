"""What one definition, one workflow run and one project may come to: each bound, and what its refusal says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from narrows.core import step_waits
from narrows.core.states import WORKFLOW_RUN_ENDED
from narrows.engine.consume import ConsumeMessagesRole
from narrows.errors import LimitReached
from narrows.operations import advancing
from narrows.operations.definitions import Definitions
from narrows.operations.questions import Answered, ConditionQuestion
from narrows.operations.reads import PendingMessages
from narrows.operations.retention import PruneWorkflowRuns
from narrows.storage.loaded import Loaded
from narrows.storage.transaction import Limits
from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


def _starts(slug: str, times: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        step(f"s{number}", type="sub_workflow", workflow_slug=slug, on_failure="continue", **fields)
        for number in range(times)
    ]


async def test_a_workflow_that_starts_itself_five_times_comes_to_its_end(backend: Backend) -> None:
    """Within 10 levels it would be 5 to the power of 10 runs; it had made 3,743 in 60 rounds of messages."""
    async with opened(backend, limits=Limits(descendants=37)) as bench:
        flows = Workflows(bench)
        # That a step is tried again lets nothing more descend.
        run_id = await flows.begin(*_starts("w", 5, retry_max_attempts=3))
        other = ConsumeMessagesRole(bench.service)
        while await bench.service.read(flows.pending):
            await asyncio.gather(flows._messages.round(), other.round())
        runs = await flows.listed()
        assert len(runs) == 1 + 37
        assert {run.status for run in runs} == {"completed"}
        assert {run.top_run_id for run in runs if run.id != run_id} == {run_id}
        errors = [row.error for run in runs for row in (await flows.steps(run.id)).values() if row.error]
        assert len(errors) == 5 * 38 - 37
        said = f"37 workflow runs descend from {run_id} already, the most allowed; trigger the others by"
        assert all(error.startswith(said) for error in errors)


async def test_nothing_more_begins_below_a_workflow_run_that_retention_has_taken(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(*_starts("below", 1), slug="middle")
        await flows.define(wait("in"), slug="below")
        await flows.define(*_starts("middle", 1), slug="top")
        top = await flows.start(slug="top")
        await flows._messages.round()
        (message,) = await bench.service.read(flows.pending)
        middle = (await flows.child(top, "s0")).id
        await flows.cancel(top)
        bench.clock.advance(secs=1)
        going = PruneWorkflowRuns(before=bench.clock.now(), limit=10, entropy=bench.entropy())
        assert (await bench.service.prune(going)).deleted == 1
        await flows._messages._consume(message)
        told = (await bench.service.read(PendingMessages(9)))[-1]
        assert f"the workflow run {top}, from which it would descend, has ended and is gone" in (
            told.body or ""
        )
        await flows.messages()
        assert await flows.status(middle) == "canceled"
        assert len(await flows.listed()) == 1


async def test_a_project_may_have_so_many_workflow_runs_that_go_on(backend: Backend) -> None:
    async with opened(backend, limits=Limits(workflow_runs_per_project=3)) as bench:
        flows = Workflows(bench)
        await flows.define(wait("in", key="in:{{workflow_run_id}}"))
        await flows.define(*_starts("w", 3), slug="above")
        above = await flows.start(slug="above")
        await flows.messages()
        rows = (await flows.steps(above)).values()
        started = [row for row in rows if row.error is None]
        assert len(started) == 2
        (error,) = [row.error for row in rows if row.error is not None]
        assert error.startswith("The project has 3 workflow runs that go on, the most allowed.")
        with pytest.raises(LimitReached, match="cancel them: GET /v1/workflow-runs"):
            await flows.start()
        # What ends makes room.
        await flows.cancel(above)
        await flows.start()
        with pytest.raises(LimitReached):
            await flows.again(above)
        below = await flows.child(above, started[0].step_ref)
        await flows.messages()
        # A sub-workflow that is tried again by itself stands at the top of its own.
        assert below.top_run_id == above
        assert (await flows.run(await flows.again(below.id))).top_run_id is None
        assert sum(run.status not in WORKFLOW_RUN_ENDED for run in await flows.listed()) == 2


@pytest.mark.parametrize("veto", [None, "payload.no == true"])
async def test_an_event_costs_the_same_whatever_came_before_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, veto: str | None
) -> None:
    """With each event all earlier ones were read and taken apart again: 12 s at 1,000 keys and 1 MiB."""
    looked_into: list[str | None] = []
    read: list[str] = []
    voter_of, loaded = step_waits.voter_of, Loaded.loaded

    def noting(path: Any, payload: str | None) -> str | None:
        looked_into.append(payload)
        return voter_of(path, payload)

    def counting(self: Loaded, lookup: str, rows: Any) -> None:
        rows = list(rows)
        read.extend([lookup] * len(rows))
        loaded(self, lookup, rows)

    monkeypatch.setattr(step_waits, "voter_of", noting)
    monkeypatch.setattr(Loaded, "loaded", counting)
    async with opened(backend) as bench:
        flows = Workflows(bench)
        keys = [f"k{number}" for number in range(8)]
        fields = {"distinct_by": "by", "output_transform": "$.events[*].payload.by"}
        voting = step(
            "v", type="wait_for_all", event_keys=keys, count=6, **fields, **({"veto": veto} if veto else {})
        )
        run_id = await flows.begin(voting)
        voters = ["a", "b", "a", "c", "d", "e"]
        texts = [f'{{"by":"{voter}","text":"{"x" * 2_000}"}}' for voter in voters]
        for key, text in zip(keys, texts, strict=False):
            looked_into.clear()
            read.clear()
            await bench.send(key, text)
            assert set(looked_into) == {text}
            assert "payloads_by_id" not in read
            assert await flows.states(run_id) == "w"
        await bench.send("k7", '{"by":"f"}')
        assert await flows.output(run_id, "v") == [*voters, "f"]
        again = await flows.start()
        for key, text in zip(keys, texts, strict=False):
            await bench.send(key, text)
        await bench.send("k7", '{"by":"f","no":true}')
        assert await flows.states(again) == ("f" if veto else "c")


async def test_a_condition_or_a_veto_looks_at_so_much(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that works the name of a step out, all outputs were copied into the question."""
    monkeypatch.setattr(advancing, "MAX_ASKED_BYTES", 7_000)
    async with opened(backend) as bench:
        flows = Workflows(bench)
        keys = ["a", "b", "c"]
        going_on = {"on_failure": "continue"}
        run_id = await flows.begin(
            *map(wait, keys),
            wait("named", "a", "b", "c", condition="outputs.a.id == 1 && outputs.c.id == 1"),
            wait("any", "a", "b", "c", condition="outputs[payload.which].id == 1", **going_on),
            wait("vetoed", "a", "b", "c", veto="outputs[payload.which].id == 1", **going_on),
            wait("event", "a", veto="payload.id == 2", **going_on),
            payload={"which": "a"},
        )
        for key in keys:
            await bench.send(key, f'{{"id":1,"text":"{"x" * 3_000}"}}')
        assert await flows.states(run_id) == "cccwfww"
        await bench.send("vetoed", '{"which":"b"}')
        await bench.send("event", f'{{"id":1,"text":"{"x" * 7_000}"}}')
        assert await flows.states(run_id) == "cccwfff"
        rows = await flows.steps(run_id)
        assert (rows["any"].error or "").startswith(
            "its condition cannot be told: it looks at over 8 MiB of payload and outputs; let it name fewer"
        )
        for ref in ("vetoed", "event"):
            said = "its events cannot be looked into: it looks at over 8 MiB of payload and outputs"
            assert (rows[ref].error or "").startswith(said)


async def test_what_is_read_for_conditions_votes_and_event_keys_is_bounded(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advancing, "MAX_SEEN_BYTES", 5_000)
    monkeypatch.setattr(advancing, "ROWS_AT_ONCE", 1)
    large = f'{{"id":1,"text":"{"x" * 3_000}"}}'
    async with opened(backend) as bench:
        flows = Workflows(bench)
        for key in ("x", "y", "z"):
            await bench.send(key, large, hold_secs=60)
        keys = ["a", "b", "c"]
        named = "".join(f"{{{{parent_outputs.{key}.id}}}}" for key in keys)
        going_on = {"on_failure": "continue"}
        run_id = await flows.begin(
            *map(wait, keys),
            wait("gate", "a", "b", "c"),
            wait("asks", "gate", condition=" && ".join(f"outputs.{key}.id == 1" for key in keys), **going_on),
            step("votes", type="wait_for_all", event_keys=["x", "y", "z"], distinct_by="id", **going_on),
            wait("emits", "a", "b", "c", event_emit_key=f"out:{named}", **going_on),
        )
        assert await flows.states(run_id) == "wwwppfp"
        for key in keys:
            await bench.send(key, large)
        await bench.send("gate", "1")
        await bench.send("emits", "1")
        assert await flows.states(run_id) == "ccccfff"
        errors = [row.error or "" for row in (await flows.steps(run_id)).values() if row.status == "failed"]
        assert all("over 32 MiB" in error for error in errors), errors
        assert len(errors) == 3


async def test_questions_about_the_same_outputs_keep_one_copy_of_them(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each link of a chain is asked for in a round of its own, which reads anew what it looks at."""
    answers: dict[Any, Any] = {}
    apply = Answered.apply

    def noting(self: Answered, tx: Any) -> Any:
        answers.update(self.answers)
        return apply(self, tx)

    monkeypatch.setattr(Answered, "apply", noting)
    async with opened(backend) as bench:
        flows = Workflows(bench)
        chain = [
            wait(f"s{n}", "a", *([f"s{n - 1}"] if n else []), condition=f"outputs.a.id == {n + 2}")
            for n in range(6)
        ]
        await flows.begin(wait("a"), *chain)
        await bench.send("a", f'{{"id":1,"text":"{"x" * 2_000}"}}')
        asked = [question for question in answers if isinstance(question, ConditionQuestion)]
        assert len(asked) == 6
        assert len({id(output) for question in asked for _, output in question.outputs}) == 1


async def test_definitions_are_checked_one_at_a_time(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes up to a second of a thread; events are looked into on the same threads."""
    together = threading.Barrier(2)

    def checking(self: Definitions, text: str) -> str:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.2)
            raise AssertionError("two are checked at once")
        return text

    monkeypatch.setattr(Definitions, "check", checking)
    async with opened(backend) as bench:
        checked: list[Any] = [bench.service.check_definition(text) for text in "ab"]
        assert await asyncio.gather(*checked) == ["a", "b"]
