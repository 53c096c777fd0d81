"""The time-out sweep overwrites an event that was accepted in between and wipes its payload, and does at
most 1,000 rows every 30 s. Here the sweep looks again in its own commit, and the statement that settles
asks for the status once more."""

from __future__ import annotations

import pytest

from narrows.core.states import TriggerStatus
from narrows.storage.statements import all_statements
from tests.storage.kit import Backend, opened


@pytest.mark.parametrize("together", [True, False])
async def test_an_event_accepted_before_the_sweep_stays(backend: Backend, together: bool) -> None:
    async with opened(backend) as bench:
        found_due = await bench.open("a", 60)
        send, sweep = bench.sending("a", "1"), bench.expiring(found_due)
        bench.clock.advance_to(found_due.expires_at - 1)
        if together:
            await bench.together(send, sweep)
        else:
            await bench.perform(send)
        bench.clock.advance(secs=60)
        assert await bench.perform(sweep) == 0
        stored = await bench.get("a")
        assert (stored.status, stored.response_payload, stored.error) == (TriggerStatus.RECEIVED, "1", None)


def test_every_statement_that_settles_guards_the_status() -> None:
    settling = [
        text
        for name, text in all_statements().items()
        if "update triggers" in text and "version = i.version" in text
    ]
    assert len(settling) >= 2
    assert all("triggers.status = 'waiting'" in text for text in settling)


async def test_many_that_are_due_at_once_are_one_operation_each_round(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.together(*(bench.opening(f"k{number}", 60) for number in range(250)))
        triggers = await bench.listed()
        bench.clock.advance(secs=61)
        assert await bench.perform(bench.expiring(*triggers)) == len(triggers) == 250
        assert (await bench.stats()).timed_out == 250
