"""The writer's connection breaks at each message of a batch in turn, of either side: the caller gets his answer all
the same, nothing is lost and nothing is half done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from narrows.core.states import RunStatus, TriggerStatus
from narrows.storage.connecting import open_connection
from tests.postgres.proxy import Proxy
from tests.postgres.wire import Side
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import node, sql
from tests.storage.runs import Runs

#: No batch has as many.
ENOUGH = 200


async def _send(bench: Bench, number: int) -> None:
    assert (await bench.send(f"k{number}", f"{number}")).status == 200
    trigger = await bench.get(f"k{number}")
    assert trigger.status == TriggerStatus.RECEIVED
    assert trigger.response_payload == f"{number}"


async def _send_what_may_be_held(bench: Bench, number: int) -> None:
    """A transaction of several statements; a plain send is a single one."""
    assert (await bench.send(f"k{number}", f"{number}", hold_secs=60)).status == 200
    assert (await bench.get(f"k{number}")).status == TriggerStatus.RECEIVED


async def _open(bench: Bench, number: int) -> None:
    await bench.open(f"new{number}", 0)
    assert (await bench.get(f"new{number}")).ordinal == 1


async def _claim(bench: Bench, number: int) -> None:
    (claimed,) = await bench.perform(Runs(bench).claiming())
    (run,) = claimed
    stored = await Runs(bench).get(run)
    assert (stored.status, stored.dispatch) == (RunStatus.EXECUTING, 1)


@pytest.mark.parametrize("ask", [_send, _send_what_may_be_held, _open, _claim])
@pytest.mark.parametrize("side", Side)
async def test_a_batch_that_breaks_anywhere(
    database: PostgresBackend, ask: Callable[[Bench, int], Awaitable[None]], side: Side
) -> None:
    async with Proxy(database.url) as proxy, node(database) as bench:
        await Runs(bench).put()
        bench.writing.line._connect = lambda: open_connection(proxy.dsn, pooled=False)
        bench.writing.line.drop()
        for number in range(1, ENOUGH):
            proxy.heal()
            await bench.open(f"k{number}", 0)
            await Runs(bench).trigger()
            proxy.heal()
            proxy.cut_at(number, side)
            await ask(bench, number)
            if proxy._rules:
                break  # the batch has fewer messages
        assert 6 < number < ENOUGH - 1
        assert sql(database, "select count(*) from runs where status = 'executing'") == [
            (str(number if ask is _claim else 0),)
        ]
        assert bench.store.writer.invariant_violations == 0
