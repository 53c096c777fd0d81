"""A stale timer fires after delivery and turns it into a time-out, or hits the next wait under the same
key. Here a time-out names a trigger by id, and is looked at again in its own commit."""

from __future__ import annotations

from narrows.core.states import TriggerStatus
from narrows.operations.base import DEV
from narrows.operations.triggers import ExtendTrigger
from tests.storage.kit import PROJECT, Backend, opened


async def test_a_timer_that_comes_late_hits_neither_the_delivered_nor_the_next_wait(backend: Backend) -> None:
    async with opened(backend) as bench:
        first = await bench.open("a", 60)
        await bench.send("a", "1")
        second = await bench.open("a", 600)
        bench.clock.advance(secs=61)
        assert await bench.perform(bench.expiring(first)) == 0
        assert (await bench.get_by_id(first.id)).status == TriggerStatus.RECEIVED
        assert (await bench.get_by_id(second.id)).status == TriggerStatus.WAITING


async def test_a_timer_of_before_an_extension_does_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        extend = ExtendTrigger(
            actor=DEV, project_id=PROJECT, entropy=1, trigger_id=trigger.id, timeout_secs=600
        )
        await bench.perform(extend)
        bench.clock.advance(secs=61)
        assert await bench.perform(bench.expiring(trigger)) == 0
        assert (await bench.get("a")).status == TriggerStatus.WAITING
