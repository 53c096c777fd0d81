"""A lost race's orphaned subscription eats the next event. Here an event goes to the one waiting trigger
of its key; a trigger that was canceled, timed out or settled takes none."""

from __future__ import annotations

import pytest

from narrows.core.states import TriggerStatus
from tests.storage.kit import Backend, opened


@pytest.mark.parametrize("end", ["cancel", "time_out", "receive"])
@pytest.mark.parametrize("together", [True, False])
async def test_only_the_live_wait_gets_the_event(backend: Backend, end: str, together: bool) -> None:
    async with opened(backend) as bench:
        orphan = await bench.open("a", 60)
        if end == "cancel":
            await bench.perform(bench.canceling("a"))
        elif end == "receive":
            await bench.send("a", '"first"')
        else:
            bench.clock.advance_to(orphan.expires_at)
        steps = [bench.opening("a", 600), bench.sending("a", '"next"')]
        if together:
            await bench.together(*steps)
        else:
            for step in steps:
                await bench.perform(step)
        assert (await bench.get_by_id(orphan.id)).response_payload in (None, '"first"')
        live = await bench.get("a")
        assert live.id != orphan.id
        assert (live.status, live.response_payload) == (TriggerStatus.RECEIVED, '"next"')
