"""Event taken, then the waiter resolved, in two commits: a crash between loses it. Here the trigger that an
event settles and the run that it resumes are written in one commit, whatever step of it is the last."""

from __future__ import annotations

import pytest

from narrows.errors import OutcomeUnknown
from tests.storage.kit import Backend, opened
from tests.storage.runs import Runs

STEPS = ("begin", "loaded", "applied", "wrote settle_triggers", "wrote update_runs", "flushed", "committed")


class Crash(BaseException):
    """The process is gone: nobody handles it."""


@pytest.mark.parametrize("step", STEPS)
async def test_an_event_and_the_run_that_it_resumes_are_one_commit(backend: Backend, step: str) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "k", timeout_secs=0)
        seen: list[str] = []

        def crash(reached: str) -> None:
            seen.append(reached)
            if reached == step:
                raise Crash

        bench.store.writer.failpoint = crash
        with pytest.raises(OutcomeUnknown):
            await bench.perform(bench.sending("k", "1"))
        assert step in seen
    async with opened(backend, bench.clock) as after:
        trigger, resumed = await after.get("k"), await Runs(after).get(run)
        both = (trigger.status, resumed.status)
        assert both == (("received", "queued") if step == "committed" else ("waiting", "waiting"))
    assert backend.faults() == []
