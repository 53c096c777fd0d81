"""One node with two writers: when the second one goes to work beside the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from narrows.core.records import Trigger
from narrows.errors import OutcomeUnknown, Unavailable
from narrows.storage import front, postgres_store
from narrows.storage.at_work import HANDFUL
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import PATIENCE_SECS, Points, node, until

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


@pytest.mark.usefixtures("no_batch_is_late")
async def test_what_a_full_batch_leaves_behind_is_taken_by_the_idle_writer(database: PostgresBackend) -> None:
    async with node(database, writers=2) as bench, asyncio.timeout(PATIENCE_SECS):
        points = Points(bench)
        with points.holding("flushed") as reached:
            first = [asyncio.create_task(bench.open(f"a{number}", 0)) for number in range(MANY)]
            await reached.wait()
            behind = [asyncio.create_task(bench.open(f"b{number}", 0)) for number in range(2 * HANDFUL)]
            await until(lambda: bench.store.writer.queue_length == len(behind))
            bench.store.writer._max_batch = HANDFUL
        with points.holding("flushed") as reached:
            await reached.wait()
            await until(lambda: sum(task.done() for task in behind) == HANDFUL)
        await asyncio.gather(*first, *behind)


@pytest.mark.usefixtures("no_batch_is_late")
@pytest.mark.parametrize("writers", [1, 2])
async def test_a_node_that_closes_leaves_nobody_without_an_answer(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch, writers: int
) -> None:
    """Its writer is cut off in the midst of a batch, and others wait behind that."""
    monkeypatch.setattr(postgres_store, "CLOSE_SECS", 0.0)
    async with node(database, writers=writers) as bench, asyncio.timeout(PATIENCE_SECS):
        with Points(bench).holding("flushed") as reached:
            first = [asyncio.create_task(bench.open(f"a{number}", 0)) for number in range(MANY)]
            await reached.wait()
            behind = [asyncio.create_task(bench.open(f"b{number}", 0)) for number in range(MANY)]
            await until(lambda: bench.store.writer.queue_length == MANY)
            await bench.store.close()
            answers = await asyncio.gather(*first, return_exceptions=True)
            assert {type(answer) for answer in answers} == {OutcomeUnknown}
            for answer in await asyncio.gather(*behind, return_exceptions=True):
                assert isinstance(answer, Trigger | Unavailable | OutcomeUnknown)
