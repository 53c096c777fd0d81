"""The clock of a database may be behind what was written: a standby took over whose machine's clock is."""

from __future__ import annotations

from narrows.core.states import TriggerStatus
from narrows.testing import ManualClock
from tests.storage.kit import PostgresBackend, opened
from tests.storage.runs import Runs


async def test_nothing_is_stamped_before_what_it_follows(database: PostgresBackend) -> None:
    ahead, behind = ManualClock(seed=1), ManualClock(seed=2)
    async with opened(database, behind) as other, opened(database, ahead) as one:
        ahead.advance(secs=20)
        opened_at = (await one.open("a", 0)).requested_at
        runs = Runs(one)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "b", timeout_secs=0)
        await other.send("a", "1")
        await other.send("b", "1")
        sent = await one.get("a")
        assert sent.status == TriggerStatus.RECEIVED
        assert sent.received_at is not None
        assert sent.received_at > opened_at
        assert behind.now() < opened_at, "the other's clock is behind, and its changes are not"
