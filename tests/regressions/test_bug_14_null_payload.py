"""A time-out is told by a null payload, so that a null event is a time-out. Here the status tells, and
an absent payload, JSON null and a time-out are three things."""

from __future__ import annotations

import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import Conflict
from tests.storage.kit import Backend, opened


@pytest.mark.parametrize(("payload", "other"), [("null", None), (None, "null")])
async def test_a_null_event_is_an_event(backend: Backend, payload: str | None, other: str | None) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        await bench.send("a", payload)
        bench.clock.advance(secs=61)
        assert await bench.perform(bench.expiring(trigger)) == 0
        stored = await bench.get("a")
        assert (stored.status, stored.response_payload) == (TriggerStatus.RECEIVED, payload)
        assert stored.received_at is not None
        with pytest.raises(Conflict):
            await bench.send("a", other)


async def test_a_time_out_has_no_time_of_receipt(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        bench.clock.advance(secs=61)
        await bench.perform(bench.expiring(trigger))
        stored = await bench.get("a")
        assert (stored.status, stored.received_at) == (TriggerStatus.TIMED_OUT, None)
