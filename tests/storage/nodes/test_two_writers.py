"""One node with two writers: when the second one goes to work beside the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from narrows.storage import front, postgres_store
from narrows.storage.at_work import HANDFUL
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import PATIENCE_SECS, Points, node

MANY = HANDFUL + 1


@pytest.fixture
def no_batch_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time alone brings no second writer to work."""
    monkeypatch.setattr(postgres_store, "PATIENCE_SECS", 3_600.0)


@pytest.fixture(autouse=True)
def what_comes_at_once_is_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HANDED_OVER_AT_ONCE", 10 * MANY)


@asynccontextmanager
async def held(database: PostgresBackend, operations: int) -> AsyncIterator[tuple[Bench, Points]]:
    """A node with two writers, of which the one has a batch of so many that does not end while the context lasts."""
    async with node(database, writers=2) as bench, asyncio.timeout(PATIENCE_SECS):
        points = Points(bench)
        with points.holding("flushed") as reached:
            batch = [asyncio.create_task(bench.open(f"held:{number}", 0)) for number in range(operations)]
            await reached.wait()
            yield bench, points
        await asyncio.gather(*batch)


async def test_a_batch_that_takes_long_holds_up_no_others(database: PostgresBackend) -> None:
    async with held(database, MANY) as (bench, _):
        for number in range(3):
            await bench.open(f"k{number}", 0)
            assert (await bench.send(f"k{number}", "1")).status == 200


@pytest.mark.usefixtures("no_batch_is_late")
async def test_a_few_that_come_beside_a_handful_share_the_next_commit(database: PostgresBackend) -> None:
    await wait_behind(database, HANDFUL, HANDFUL - 1)


@pytest.mark.usefixtures("no_batch_is_late")
async def test_all_that_come_beside_a_larger_batch_share_the_next_commit(database: PostgresBackend) -> None:
    await wait_behind(database, MANY, 2 * MANY)


async def wait_behind(database: PostgresBackend, operations: int, behind: int) -> None:
    async with held(database, operations) as (bench, points):
        waiting = [asyncio.create_task(bench.open(f"k{number}", 0)) for number in range(behind)]
        await bench.stats()  # in its time an idle writer would long have begun
        assert bench.store.writer.queue_length == behind
        assert points.seen.count("begin") == 1
    await asyncio.gather(*waiting)
    assert points.seen.count("begin") == 2


@pytest.mark.usefixtures("no_batch_is_late")
@pytest.mark.parametrize("operations", [1, HANDFUL])
async def test_as_many_that_come_beside_a_handful_get_a_commit_of_their_own(
    database: PostgresBackend, operations: int
) -> None:
    async with held(database, operations) as (bench, points):
        await asyncio.gather(*(bench.open(f"k{number}", 0) for number in range(operations)))
        assert points.seen.count("begin") == 2
