"""A node that was paused for longer than the database waits for it, or than its lease: what it was about to write
is not written, or is refused."""

from __future__ import annotations

import asyncio

import pytest

from narrows.core.runs import WORKER_LEASE_US
from narrows.core.states import RunStatus, TriggerStatus
from narrows.errors import Conflict, Refusal
from narrows.operations.base import HeldOutcome
from narrows.storage.connecting import SETTINGS
from tests.storage.kit import PostgresBackend
from tests.storage.nodes.kit import Points, node, sql
from tests.storage.runs import Runs


async def test_what_a_paused_node_was_about_to_commit_is_decided_anew(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction was ended, and another node settled the wait meanwhile."""
    monkeypatch.setitem(SETTINGS, "idle_in_transaction_session_timeout", "300")
    async with node(database) as paused, node(database) as other:
        await paused.open("a", 0)
        points = Points(paused)
        with points.holding("flushed") as reached:
            sending = asyncio.create_task(paused.send("a", "1", hold_secs=60))
            await reached.wait()
            # It waits for the locks until the database has ended the transaction of who does not go on.
            await other.perform(other.canceling("a"))
        assert isinstance(await sending, HeldOutcome)
        assert points.seen.count("begin") == 2
        assert (await other.get("a")).status == TriggerStatus.CANCELED


async def test_what_a_paused_node_was_about_to_write_is_decided_anew(database: PostgresBackend) -> None:
    """It has looked, and holds nothing; another node settled the wait meanwhile."""
    async with node(database) as paused, node(database) as other:
        await paused.open("a", 0)
        with Points(paused).holding("applied") as reached:
            sending = asyncio.create_task(paused.send("a", "1"))
            await reached.wait()
            await other.perform(other.canceling("a"))
        with pytest.raises(Refusal):
            await sending
        assert (await other.get("a")).status == TriggerStatus.CANCELED


async def test_the_outcome_of_a_dispatch_that_was_given_to_another_is_refused(
    database: PostgresBackend,
) -> None:
    async with node(database) as paused, node(database) as other:
        await Runs(paused).put()
        mine = await Runs(paused).dispatch()
        # Its lease is over, as if it had slept for so long.
        sql(database, f"update runs set due_at = due_at - {10 * WORKER_LEASE_US} where id = '{mine.id}'")
        assert await Runs(other).wake(mine) == 1
        sql(database, "update runs set due_at = 0 where status = 'delayed'")
        await Runs(other).wake(await Runs(other).get(mine))
        (theirs,) = await Runs(other).claim()
        assert (theirs.id, theirs.dispatch) == (mine.id, mine.dispatch + 1)
        with pytest.raises(Conflict):
            await Runs(paused).complete(mine, "1")
        assert await Runs(paused).finish(mine, completed=True, result="1") is None
        assert (await Runs(other).get(theirs)).status == RunStatus.EXECUTING
        await Runs(other).complete(theirs, "2")
        assert (await Runs(paused).get(mine)).result == "2"
