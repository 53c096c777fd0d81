"""Corners where a workflow run could stand still, or hold up others: what is taken, held, full, or at fault."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import WorkflowVersion
from narrows.engine import workflow_runs_due
from narrows.errors import PayloadTooLarge
from narrows.operations import turns
from narrows.operations.base import DEV
from narrows.operations.definitions import Definitions
from narrows.operations.events import BatchEvent
from narrows.operations.jobs import DeleteJob
from narrows.operations.messages import StartSubWorkflow
from narrows.operations.prefix import SendPrefix
from narrows.operations.turns import Turns
from narrows.storage.transaction import Limits
from tests.storage.kit import PROJECT, Backend, opened
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


async def test_events_that_cannot_be_held_yet_keep_no_other_message_waiting(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(backend, limits=Limits(held_per_key=1)) as bench:
        flows = Workflows(bench)
        await flows.define(wait("x", key="x:{{workflow_run_id}}"), slug="below")
        await flows.define(step("c", type="sub_workflow", workflow_slug="below"), slug="above")
        await flows.begin(*[wait(f"s{number}", event_emit_key="full") for number in range(70)])
        await bench.service.perform(bench.batch(*[BatchEvent(f"s{number}", "1") for number in range(70)]))
        above = await flows.start(slug="above")
        for _ in range(3):
            await flows._messages.round()
        assert (await flows.child(above, "c")).status == "running"
        # While they wait nobody reads them, with payloads of up to 1 MiB each.
        answers, right = [], bench.service.read

        async def noting(read: Any) -> Any:
            answers.append(await right(read))
            return answers[-1]

        monkeypatch.setattr(bench.service, "read", noting)
        await flows._messages.round()
        assert answers == [()]
        monkeypatch.undo()
        # They are tried again, and held when there is room.
        await bench.open("full")
        for _ in range(4):
            await flows.after(11)
            await flows._messages.round()
            await bench.open("full")
        received = [each for each in await bench.listed() if each.event_key == "full" and each.received_at]
        assert len(received) == 5


async def test_a_message_that_cannot_be_consumed_is_set_aside(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(wait("x", key="x:{{workflow_run_id}}"), slug="below")
        await flows.define(step("c", type="sub_workflow", workflow_slug="below"), slug="above")
        bad, good = await flows.start(slug="above"), await flows.start(slug="above")
        right = StartSubWorkflow.apply

        def broken(self: StartSubWorkflow, tx: Any) -> bool:
            if self.message.subject_id == bad:
                raise RuntimeError("a fault of ours")
            return right(self, tx)

        monkeypatch.setattr(StartSubWorkflow, "apply", broken)
        await flows._messages.round()
        assert (await flows.child(good, "c")).status == "running"
        assert (await flows.steps(bad))["c"].status == "running"
        monkeypatch.undo()
        await flows.after(61)
        await flows._messages.round()
        assert (await flows.child(bad, "c")).status == "running"


async def test_one_workflow_run_that_cannot_be_ended_keeps_no_other_from_its_end(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(wait("in", key="in:{{n}}"), timeout_secs=10)
        runs = [await flows.start({"n": number}) for number in range(5)]
        right = Turns._turn

        def broken(self, tx, key, noted):  # type: ignore[no-untyped-def]
            if key[1] == runs[1]:
                raise RuntimeError("a fault of ours")
            return right(self, tx, key, noted)

        monkeypatch.setattr(Turns, "_turn", broken)
        await flows.after(11)
        ended = [await flows.status(run_id) for run_id in runs]
        assert ended == ["timed_out", "running", "timed_out", "timed_out", "timed_out"]
        monkeypatch.undo()
        await flows.after(61)
        assert await flows.status(runs[1]) == "timed_out"


async def test_many_jobs_with_one_large_payload_and_many_copies_of_one_text_take_a_moment(
    backend: Backend,
) -> None:
    """Each job took the payload apart anew (13 s), each placeholder decoded the same text (49 s)."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(*[step(f"s{number}") for number in range(500)], slug="jobs")
        run_id = await flows.start({f"k{number}": number for number in range(5_000)}, "jobs")
        assert await flows.states(run_id) == "r" * 500
        keys = [
            step(f"s{n}", type="wait_for_any", event_keys=[f"{n}.{m}{{{{text}}}}" for m in range(1_000)])
            for n in range(20)
        ]
        await flows.define(*keys, slug="copies")
        run_id = await flows.start({"text": "x" * 1_000_000}, "copies")
        assert await flows.status(run_id) == "failed"


async def test_what_one_step_opens_is_bounded_and_how_many_waits_start_at_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        large = [f"l{number}" for number in range(40)]
        many = [
            step(
                f"s{n}",
                type="wait_for_any",
                event_keys=[f"{n}.{m}" for m in range(1_000)],
                on_failure="continue",
            )
            for n in range(6)
        ]
        alone = step(
            "l", type="wait_for_any", event_keys=large, request_payload="{{text}}", on_failure="continue"
        )
        run_id = await flows.begin(alone, *many, payload={"text": "x" * 1_000_000})
        assert await flows.states(run_id) == "f" + "w" * 5 + "f"
        rows = await flows.steps(run_id)
        assert "over 32 MiB" in (rows["l"].error or "")
        assert "over 4,000 waits" in (rows["s5"].error or "")


async def test_what_is_looked_at_for_one_step_is_bounded_and_said(backend: Backend) -> None:
    """Of 300 parents with 1 MiB each a job's start took 1.6 GB of memory, to find that it is too much."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        keys = [f"k{number}" for number in range(70)]
        below = [wait(key, key=f"{key}:below") for key in keys]
        await flows.define(*below, slug="below")
        run_id = await flows.begin(
            *map(wait, keys),
            step(
                "all", type="wait_for_all", event_keys=[f"{key}:all" for key in keys], on_failure="continue"
            ),
            step("job", *keys, on_failure="continue"),
            step("sub", type="sub_workflow", workflow_slug="below", on_failure="continue"),
        )
        await flows.messages()
        text = f'"{"x" * 1_000_000}"'
        for key in keys:
            for where in (key, f"{key}:all", f"{key}:below"):
                await bench.send(where, text)
        await flows.messages()
        assert await flows.states(run_id) == "c" * 70 + "fff"
        errors = [(await flows.steps(run_id))[ref].error or "" for ref in ("all", "job", "sub")]
        assert ["over 32 MiB" in error for error in errors] == [True, True, False]
        assert errors[2] == "its output is over 1 MiB"


async def test_several_large_events_are_made_small_by_a_transform(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        keys = ["a", "b", "c"]
        run_id = await flows.begin(
            step("v", type="wait_for_all", event_keys=keys, output_transform="$.events[*].payload.id")
        )
        for key in keys:
            await bench.send(key, f'{{"id":"{key}","text":"{"x" * 600_000}"}}')
        assert await flows.output(run_id, "v") == keys


async def test_an_address_that_comes_out_too_long_is_none(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(
            wait("long", event_notify_url="https://example.com/{{path}}{{path}}", on_failure="continue"),
            wait("short", event_notify_url="https://example.com/{{path}}"),
            payload={"path": "x" * 1_500},
        )
        assert await flows.states(run_id) == "fw"
        assert "event_notify_url" in ((await flows.steps(run_id))["long"].error or "")


async def test_what_follows_in_many_workflow_runs_is_divided_among_commits(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 runs of 1,000 waits each whose time was over at once held the writer for 12 s on SQLite, for 71 s on
    PostgreSQL, and with it the event loop."""
    monkeypatch.setattr(workflow_runs_due, "STEPS_A_ROUND", 20)
    monkeypatch.setattr(turns, "MAX_CHANGES", 60)
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        then = [step(f"j{number}", "in", on_failure="continue") for number in range(5)]
        waiting = wait("in", key="in:{{n}}", event_timeout_secs=10, on_timeout={"default": 1})
        await flows.define(waiting, *then)
        await flows.define(
            *[wait(f"w{m}", key=f"w:{{{{n}}}}:{m}") for m in range(9)], timeout_secs=10, slug="limited"
        )
        by_prefix, by_clock = [
            [await flows.start({"n": n}) for n in numbers] for numbers in (range(8), range(8, 16))
        ]
        limited = [await flows.start({"n": n}, "limited") for n in range(8)]
        prefix = SendPrefix(DEV, PROJECT, "in:", "1", bench.entropy(), scope_hash="s", body_hash="b")
        before = len(bench.commits)
        outcome = await bench.service.send_prefix(prefix._replace(prefix="in:1"))
        assert outcome.resolved == 7
        assert len(bench.commits) - before > 2
        await flows.after(11)
        for _ in range(20):
            await flows.after(0)
        assert {await flows.states(run_id) for run_id in (*by_prefix, *by_clock)} == {"c" + "r" * 5}
        assert {await flows.status(run_id) for run_id in limited} == {"timed_out"}
        await bench.service.perform(
            DeleteJob(actor=DEV, project_id=PROJECT, entropy=bench.entropy(), job="j", cancel_runs=True)
        )
        await flows.messages()
        assert {await flows.states(run_id) for run_id in (*by_prefix, *by_clock)} == {"c" + "x" * 5}


async def test_one_request_of_which_too_much_follows_is_refused_and_others_of_its_batch_are_not(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_CHANGES", 60)
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(wait("in", key="in:{{n}}"), *[step(f"j{number}", "in") for number in range(5)])
        runs = [await flows.start({"n": n}) for n in range(8)]
        all_at_once = bench.batch(*[BatchEvent(f"in:{n}", "1") for n in range(8)])
        refused, *good = await bench.together(all_at_once, bench.opening("other"), bench.sending("in:7", "1"))
        assert isinstance(refused, PayloadTooLarge)
        assert not [each for each in good if isinstance(each, Exception)]
        assert [await flows.states(run_id) for run_id in runs] == ["w" + "p" * 5] * 7 + ["c" + "r" * 5]
        assert bench.store.writer.invariant_violations == 0
