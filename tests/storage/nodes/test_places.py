"""Where the rows of waits stand: what is settled stays on its page, so that no index is written for it."""

from __future__ import annotations

import asyncio

from narrows.operations.events import BatchEvent
from tests.storage.kit import PostgresBackend
from tests.storage.nodes.kit import node, sql

PAYLOAD = '{"note":"%s"}' % ("x" * 110)


def _pages(database: PostgresBackend) -> list[tuple[str, int]]:
    """Of each wait its key and page, in the order of opening."""
    found = sql(database, "select event_key, (ctid::text::point)[0]::int from triggers order by id")
    return [(str(key), int(page or 0)) for key, page in found]


async def test_neighbours_that_are_settled_together_stay_on_their_page(database: PostgresBackend) -> None:
    """Of one that has left its page every index of its table gets another entry."""
    async with node(database) as one:
        await asyncio.gather(*(one.open(f"k{number:03}", 600) for number in range(400)))
        before = _pages(database)
        for first in range(0, 400, 25):
            events = [BatchEvent(key, PAYLOAD) for key, _ in before[first : first + 25]]
            await one.perform(one.batch(*events))
        stayed = len(set(before) & set(_pages(database)))
        assert len({page for _, page in before}) > 10
        assert stayed > 320  # 158 to 207 with 30 % of room
