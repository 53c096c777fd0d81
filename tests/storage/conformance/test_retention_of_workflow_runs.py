"""Retention beside workflows: what goes with a workflow run, and what stays because one lives that needs it."""

from __future__ import annotations

from typing import Any

from narrows.core.states import FactKind
from narrows.core.workflow_records import Step
from narrows.engine.prune import PERIOD_US, PruneRole
from narrows.operations.base import DEV
from narrows.operations.purge import DeleteRuns, DeleteTriggers, DeleteWorkflowRuns, Purge
from narrows.operations.reads import CountWorkflowRuns, WaitGroupsOf
from narrows.operations.reads.retention import OutputsOf
from narrows.operations.retention import PruneRuns, PruneTriggers, PruneWorkflowRuns
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.workflows.kit import Workflows, step, wait

LARGE = "x" * 3_000
TEXT = f'"{LARGE}"'
DAY_SECS = 86_400


async def _prune(bench: Bench, what: type[Any] = PruneWorkflowRuns, limit: int = 500) -> int:
    return await bench.prune(what(bench.clock.now(), limit, bench.entropy()))


async def _payload_is_there(bench: Bench, payload_id: str | None) -> bool:
    assert payload_id is not None
    return await bench.rows("payloads_by_id", (PROJECT, payload_id)) != []


async def _ended(flows: Workflows, **fields: Any) -> str:
    """A workflow run that has done a job, has had an event, and was canceled while it waited."""
    await flows.job()
    run_id = await flows.begin(wait("a"), step("b", "a"), wait("c", "b"), payload=LARGE, **fields)
    await flows.bench.send("a", TEXT)
    await flows.work(LARGE)
    await flows.cancel(run_id)
    return run_id


async def test_an_ended_workflow_run_goes_with_everything_that_was_its_own(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await _ended(flows)
        run, rows = await flows.run(run_id), await flows.steps(run_id)
        assert run.steps == "ccx"
        bench.clock.advance(secs=1)
        assert await _prune(bench) == 1
        assert [fact.kind for fact in bench.commits[-1].facts] == [FactKind.WORKFLOW_RUNS_PURGED]
        assert await bench.rows("workflow_runs_by_id", (PROJECT, run_id)) == []
        assert await bench.rows("roots_by_id", (PROJECT, run_id)) == []
        for number in "012":
            assert await bench.rows("steps_by_number", (PROJECT, run_id, number)) == []
        assert set((await bench.store.read(CountWorkflowRuns())).values()) == {0}
        assert not await _payload_is_there(bench, run.payload_id)
        # The outputs are those of its trigger and its job's run, which go by themselves.
        for ref in "ab":
            assert await _payload_is_there(bench, rows[ref].output_id)
        assert await _prune(bench, PruneTriggers) == 2
        assert await _prune(bench, PruneRuns) == 1
        for ref in "ab":
            assert not await _payload_is_there(bench, rows[ref].output_id)
        for ref in "ac":
            group = (PROJECT, rows[ref].wait_group_id or "")
            assert await bench.rows("wait_groups_by_id", group) == []
        # The workflow and its version stay, for whoever triggers it.
        assert await flows.start() != run_id


async def test_outputs_stay_as_long_as_the_steps_that_show_them(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        rows = await flows.steps(await _ended(flows))
        bench.clock.advance(secs=1)
        assert [await _prune(bench, what) for what in (PruneTriggers, PruneRuns)] == [2, 1]
        assert await _payload_is_there(bench, rows["a"].output_id)
        assert await _payload_is_there(bench, rows["b"].output_id)
        assert await _prune(bench) == 1
        assert not await _payload_is_there(bench, rows["a"].output_id)
        assert not await _payload_is_there(bench, rows["b"].output_id)


async def test_what_a_live_workflow_run_started_stays(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(wait("a"), step("b", "a"), wait("c", "b", timeout_secs=0))
        await bench.send("a", TEXT)
        await flows.work(LARGE)
        bench.clock.advance(secs=90 * DAY_SECS)
        for what in (PruneTriggers, PruneRuns, PruneWorkflowRuns):
            assert await _prune(bench, what) == 0
        assert (await bench.service.purge(Purge(DEV, PROJECT, 1, False, 1))).deleted == 0
        (job_run,) = await flows.job_runs(run_id)
        assert (await bench.get("a")).response_payload == TEXT
        # Also if it was thought to have ended.
        before, key = bench.clock.now(), (PROJECT, run_id)
        (trigger,) = [each for each in await bench.listed() if each.event_key == "a"]
        triggers = ((PROJECT, trigger.id),)
        groups = await bench.store.read(WaitGroupsOf(triggers))
        for operation in (
            DeleteRuns(ids=((PROJECT, job_run.id),), finished_before=before, entropy=1),
            DeleteWorkflowRuns(ids=(key,), finished_before=before, entropy=1),
            DeleteTriggers(ids=triggers, settled_before=before, entropy=1, wait_groups=groups),
        ):
            assert await bench.perform(operation) == 0
        await bench.send("c")
        assert await flows.status(run_id) == "completed"
        bench.clock.advance(secs=1)
        assert [await _prune(bench, what) for what in (PruneTriggers, PruneRuns)] == [2, 1]
        assert await _prune(bench) == 1


async def test_only_workflow_runs_that_ended_before_go(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(step("a", type="approval"))
        old, late, living = [await flows.start() for _ in range(3)]
        await flows.cancel(old)
        bench.clock.advance(secs=1)
        before = bench.clock.now()
        await flows.cancel(late)
        assert await bench.prune(PruneWorkflowRuns(before, 500, bench.entropy())) == 1
        keys = tuple((PROJECT, each) for each in (old, late, living))
        assert await bench.perform(DeleteWorkflowRuns(ids=keys, finished_before=before, entropy=1)) == 0
        assert {run.id for run in await flows.listed()} == {late, living}


async def test_a_step_whose_turn_did_not_come_again_goes_with_its_run(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job(max_attempts=1)
        run_id = await flows.begin(step("a", retry_max_attempts=2), step("b", type="approval"))
        await flows.work(error="broken")
        await flows.pause(run_id)
        await flows.after(600)
        assert await flows.states(run_id) == "qw"
        await flows.cancel(run_id)
        # Its row is as it was; that it has ended says its letter.
        assert (await flows.states(run_id), (await flows.run(run_id)).status) == ("xx", "canceled")
        (row,) = await bench.rows("steps_by_number", (PROJECT, run_id, "0"))
        assert Step(*row).status == "queued"
        assert backend.faults() == []
        bench.clock.advance(secs=1)
        assert await _prune(bench) == 1


async def test_a_commit_of_retention_is_bounded_by_the_steps_that_go(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(*(step(f"s{number}", type="approval") for number in range(4)))
        for run_id in [await flows.start() for _ in range(5)]:
            await flows.cancel(run_id)
        bench.clock.advance(secs=1)
        assert await _prune(bench, limit=1) == 1
        assert await _prune(bench, limit=10) == 2
        assert await _prune(bench, limit=500) == 2


async def test_what_was_released_by_another_node_is_not_released_twice(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await _ended(flows)
        rows = await flows.steps(run_id)
        bench.clock.advance(secs=1)
        keys = ((PROJECT, run_id),)
        outputs = await bench.store.read(OutputsOf(keys))
        assert len(outputs) == 2
        both = [
            DeleteWorkflowRuns(ids=keys, finished_before=bench.clock.now(), entropy=1, outputs=outputs)
            for _ in range(2)
        ]
        assert [await bench.perform(each) for each in both] == [1, 0]
        assert await _payload_is_there(bench, rows["a"].output_id)


async def test_neither_a_sub_workflow_nor_a_run_started_anew_keeps_what_it_comes_from(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(step("x", type="approval"), slug="child")
        run_id = await flows.begin(wait("a"), step("b", "a", type="sub_workflow", workflow_slug="child"))
        await bench.send("a", TEXT)
        await flows.messages()
        child = await flows.child(run_id, "b")
        await flows.cancel(run_id)
        bench.clock.advance(secs=1)
        before = bench.clock.now()
        await flows.messages()
        again = await flows.again(run_id)
        assert await bench.prune(PruneWorkflowRuns(before, 500, bench.entropy())) == 1
        assert await _prune(bench, PruneTriggers) > 0
        # They are as they were, and show what they had.
        assert await flows.status(child.id) == "canceled"
        assert await flows.output(again, "a") == LARGE
        assert (await flows.run(again)).retry_of == run_id
        await flows.messages()
        await flows.cancel(again)
        await flows.messages()
        bench.clock.advance(secs=1)
        assert await _prune(bench) == 3


async def test_the_role_takes_workflow_runs_by_their_age(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await _ended(flows)
        living = await flows.start()
        bench.clock.advance(secs=2 * DAY_SECS)
        late = await flows.start()
        role, began = PruneRole(bench.service, retention_days=1), bench.clock.now()
        while (await role.round() or 0) < began + PERIOD_US:
            pass
        assert [run.id for run in await flows.listed()] == [late, living]
