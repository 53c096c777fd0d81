"""Event taken, then wait resolved, in two commits: a crash between loses it. Here taking a held event
and settling the wait are one commit: a crash at any step leaves both or neither."""

from __future__ import annotations

import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import OutcomeUnknown
from narrows.operations.reads import ListHeldEvents
from tests.storage.kit import PROJECT, Backend, opened


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    "step",
    [
        "begin",
        "loaded",
        "applied",
        "wrote insert_triggers",
        "wrote delete_held_events",
        "flushed",
        "committed",
    ],
)
async def test_a_crash_leaves_the_event_held_or_the_wait_settled(backend: Backend, step: str) -> None:
    async with opened(backend) as bench:
        await bench.send("a", "1", hold_secs=600)

        def fail(name: str) -> None:
            if name == step:
                raise Crash

        bench.store.writer.failpoint = fail
        with pytest.raises(OutcomeUnknown):
            await bench.open("a", 0)
        clock = bench.clock
    async with opened(backend, clock) as bench:
        held = (await bench.store.read(ListHeldEvents(project_id=PROJECT))).items
        settled = [t for t in await bench.listed() if t.status == TriggerStatus.RECEIVED]
        assert (len(held), len(settled)) == ((0, 1) if step == "committed" else (1, 0))
        if held:
            assert (await bench.open("a", 0)).response_payload == "1"
