"""What random histories have found (`test_histories.py`, `tests/simulation`), each as the shortest story that shows it."""

from __future__ import annotations

import json

import pytest

from narrows.operations.base import DEV
from narrows.operations.dispatch import Claim, ClaimRuns
from narrows.operations.events import DeleteHeldEvent
from narrows.operations.workflow_runs import Superseded, SwitchWorkflowRun
from narrows.operations.workflows import DeleteWorkflow
from tests.storage.kit import PROJECT, Backend, opened
from tests.workflows.kit import HOLDER, Workflows, step, wait


async def test_a_held_event_that_is_deleted_is_taken_by_no_step_of_the_same_commit(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(wait("a"), wait("b", "a"))
        held = (await bench.send("b", '"early"', hold_secs=60)).held
        deleting = DeleteHeldEvent(actor=DEV, project_id=PROJECT, entropy=bench.entropy(), held_id=held.id)
        outcomes = await bench.together(deleting, bench.sending("a", "1"))
        assert not [each for each in outcomes if isinstance(each, Exception)]
        assert await flows.states(run_id) == "cw"
        assert (await bench.stats()).held == 0


async def test_another_workflow_that_has_taken_the_slug_is_not_started_by_the_definition_of_the_first(
    backend: Backend,
) -> None:
    """Both have a first version, and the run had the steps of one and the number of steps of the other."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        first = await flows.define(wait("a"), wait("b"), slug="w")
        starting = await flows.starting(slug="w")
        deleting = DeleteWorkflow(actor=DEV, project_id=PROJECT, entropy=bench.entropy(), workflow=first.id)
        await bench.service.perform(deleting)
        await flows.define(wait("c"), slug="w")
        with pytest.raises(Superseded):
            await bench.service.perform(starting)
        assert await flows.states(await flows.start(slug="w")) == "w"


async def test_all_that_happens_in_one_commit_happens_at_one_time(backend: Backend) -> None:
    """Each look into the database in the midst of a turn counted what the turn itself had made as earlier."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(wait("a"), step("b", "a"), wait("c", "a"), timeout_secs=60)
        assert len({fact.at for fact in bench.commits[-1].facts}) == 1
        run = await flows.run(run_id)
        assert run.due_at == run.created_at + 60_000_000
        await bench.send("a")
        assert len({fact.at for fact in bench.commits[-1].facts}) == 1


async def test_a_vote_that_decides_nothing_yet_is_a_change_like_any_other(backend: Backend) -> None:
    """Its fact was of the version before it, which `narrows verify` refused."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        run_id = await flows.begin(step("ok", type="approval", min_approvals=2))
        before = await flows.run(run_id)
        await flows.decide(run_id, "ok", True, "ann")
        after = await flows.run(run_id)
        (voted,) = [fact for fact in bench.commits[-1].facts if fact.kind == "step.voted"]
        assert (before.version + 1, after.last_fact_id) == (after.version, voted.id)
        assert voted.version == after.version


async def test_an_output_that_could_not_be_made_is_seen_by_nobody(backend: Backend) -> None:
    """Steps that started in the commit of the failure saw what the transform had been given."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(
            wait("a", output_transform="$.missing", on_failure="continue"),
            step("job", "a"),
            wait("key", "a", key="k:{{parent_outputs.a.id}}", on_failure="continue"),
            step("asks", "a", condition="outputs.a.id == 7", on_failure="continue"),
        )
        await bench.send("a", '{"id":7}')
        assert await flows.states(run_id) == "frff"
        (run,) = await flows.job_runs(run_id)
        assert json.loads(run.payload or "") == {"parent_outputs": {"a": None}}


async def test_the_event_of_a_step_that_is_skipped_in_the_same_commit_is_no_output(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(wait("a"), step("job", "a"))
        outcomes = await bench.together(await flows.skipping(run_id, "a"), bench.sending("a", '{"id":7}'))
        assert not [each for each in outcomes if isinstance(each, Exception)]
        assert await flows.states(run_id) == "sr"
        (run,) = await flows.job_runs(run_id)
        assert json.loads(run.payload or "") == {"parent_outputs": {"a": None}}


@pytest.mark.parametrize("error", [None, "broken"])
async def test_what_happens_after_the_time_of_a_workflow_run_ends_it_in_no_other_way(
    backend: Backend, error: str | None
) -> None:
    """A job that ended before the timer came by completed the run, or failed it: that it is over was found only when the
    turn loaded it. (An event was too late already: its wait leads to the run before anything happens.)"""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job(max_attempts=1)
        run_id = await flows.begin(step("a"), timeout_secs=10)
        (run,) = await flows.claim()
        bench.clock.advance(secs=11)
        await bench.service.perform(flows.finishing(run, "done", error=error))
        ended = await flows.run(run_id)
        assert (ended.status, ended.error) == ("timed_out", "its time was over")
        assert ended.steps == ("c" if error is None else "f")


async def test_what_a_late_job_would_have_started_is_not_started_and_taken_back(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(step("a"), wait("b", "a"), timeout_secs=10)
        (run,) = await flows.claim()
        bench.clock.advance(secs=11)
        await bench.service.perform(flows.finishing(run, "done"))
        assert (await flows.status(run_id), await flows.states(run_id)) == ("timed_out", "cx")
        assert not bench.commits[-1].triggers


async def test_a_claim_finds_the_run_behind_one_that_a_turn_has_just_canceled(backend: Backend) -> None:
    """The head of the queue was at hand, so that nobody looked what it leads to: the claim came back empty, and nothing
    would have told its worker of the run behind."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        job = await flows.job()
        first = await flows.begin(step("a"))
        second = await flows.start()
        claim = ClaimRuns(
            claims=(Claim(PROJECT, (job.id,), 1, HOLDER, 60_000_000, DEV),), entropy=bench.entropy()
        )
        pausing = SwitchWorkflowRun(
            workflow_run_id=first, paused=True, actor=DEV, project_id=PROJECT, entropy=bench.entropy()
        )
        skipped, too_late, claimed = await flows.together(await flows.skipping(first, "a"), pausing, claim)
        assert not isinstance(skipped, Exception)
        assert "already completed" in str(too_late)
        ((run,),) = claimed
        assert run.workflow_run_id == second
