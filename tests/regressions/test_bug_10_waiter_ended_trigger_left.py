"""The waiter ends another way; its trigger stays waiting, and a later event brings what was canceled back to
life. Here the triggers of a run are closed in the commit that ends it."""

from __future__ import annotations

import pytest

from narrows.errors import Conflict
from narrows.operations.base import DEV
from narrows.operations.runs import CancelRun
from tests.storage.kit import PROJECT, Backend, opened
from tests.storage.runs import Runs
from tests.workflows.kit import Workflows, step, wait


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("keys", [("a",), ("a", "b", "c")])
async def test_no_event_reaches_a_run_that_was_canceled(
    backend: Backend, together: bool, keys: tuple[str, ...]
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, *keys)
        cancel = CancelRun(actor=DEV, project_id=PROJECT, entropy=1, run_id=run.id)
        sends = [bench.sending(key, "1") for key in keys]
        if together:
            _, *outcomes = await bench.together(cancel, *sends)
        else:
            await bench.perform(cancel)
            outcomes = await bench.together(*sends)
        assert all(isinstance(outcome, Conflict) for outcome in outcomes)
        assert {trigger.status for trigger in await bench.listed()} == {"canceled"}
        assert (await runs.get(run)).status == "canceled"
        assert await runs.claim() == ()
        await bench.open(keys[0])  # the key is free again
    assert backend.faults() == []


async def test_the_losers_of_a_group_take_no_event_and_resume_nobody(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "a", "b")
        await bench.send("a", '"first"')
        with pytest.raises(Conflict):
            await bench.send("b", '"late"')
        (again,) = await runs.claim()
        assert again.dispatch == 2
        with pytest.raises(Conflict):
            await bench.send("b", '"later"')
        assert (await runs.get(run)).status == "executing"


async def test_no_event_brings_a_step_of_a_canceled_workflow_run_back_to_life(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(wait("a"), step("b", "a"), wait("c", timeout_secs=60))
        await flows.cancel(run_id)
        outcomes = await bench.together(bench.sending("a", "1"), bench.sending("c", "1"))
        assert all(isinstance(outcome, Conflict) for outcome in outcomes)
        await flows.after(100)
        assert await flows.states(run_id) == "xxx"
        assert await flows.claim() == []
        assert {trigger.status for trigger in await bench.listed()} == {"canceled"}
        await bench.open("a")  # the key is free again


async def test_an_event_in_the_commit_of_the_cancel_starts_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(wait("a"), step("b", "a"))
        await bench.together(flows.canceling(run_id), bench.sending("a", "1"))
        assert await flows.status(run_id) == "canceled"
        assert await flows.claim() == []
