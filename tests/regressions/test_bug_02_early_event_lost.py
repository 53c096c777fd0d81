"""An event before its wait is lost. Here it is held, across a restart too, and settles the wait that
comes; without hold_secs its sender is told that nothing waits."""

from __future__ import annotations

import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import NotFound
from tests.storage.kit import Backend, opened


async def test_a_held_event_waits_for_its_wait(backend: Backend) -> None:
    async with opened(backend) as bench:
        with pytest.raises(NotFound):
            await bench.send("a", "0")
        await bench.send("a", "1", hold_secs=3_600)
        clock = bench.clock
    async with opened(backend, clock) as bench:
        trigger = await bench.open("a", 0)
        assert (trigger.status, trigger.response_payload) == (TriggerStatus.RECEIVED, "1")
