"""The waiter ends another way; its trigger stays waiting, and a later event brings what was canceled back to
life. Here the triggers of a run are closed in the commit that ends it."""

from __future__ import annotations

import pytest

from narrows.errors import Conflict
from narrows.operations.base import DEV
from narrows.operations.runs import CancelRun
from tests.storage.kit import PROJECT, Backend, opened
from tests.storage.runs import Runs


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
