"""Check, then register: the wait looks for the event and finds none, the event comes and finds no wait,
the wait registers and sleeps for ever. Here both looks and both changes are one commit each, so
whichever is first, they meet."""

from __future__ import annotations

import asyncio

import pytest

from narrows.core.states import TriggerStatus
from tests.storage.kit import Backend, opened


@pytest.mark.parametrize("first", ["wait", "event"])
@pytest.mark.parametrize("together", [True, False])
async def test_a_wait_and_its_event_always_meet(backend: Backend, first: str, together: bool) -> None:
    async with opened(backend) as bench:
        steps = [bench.opening("a", 0), bench.sending("a", "1", hold_secs=60)]
        if first == "event":
            steps.reverse()
        if together:
            await bench.together(*steps)
        else:
            for step in steps:
                await bench.perform(step)
        assert (await bench.get("a")).status == TriggerStatus.RECEIVED


async def test_also_when_many_race(backend: Backend) -> None:
    async with opened(backend) as bench:
        races = [bench.open(f"k{number}", 0) for number in range(100)]
        races += [bench.send(f"k{number}", "1", hold_secs=60) for number in range(100)]
        await asyncio.gather(*races)
        assert {trigger.status for trigger in await bench.listed()} == {TriggerStatus.RECEIVED}
        assert (await bench.stats()).held == 0
