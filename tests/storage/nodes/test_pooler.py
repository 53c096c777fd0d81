"""Behind a pooler that lends a server connection for each transaction: told so, or found out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from narrows.core.states import TriggerStatus
from tests.postgres.cluster import shared
from tests.postgres.pgbouncer import Pgbouncer
from tests.postgres.session import Target
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import node, until
from tests.storage.runs import Runs


@pytest.fixture(scope="module")
def pooler() -> Iterator[Pgbouncer]:
    """Of two sessions for all: so that each transaction meets another one than the last."""
    with Pgbouncer(shared(), pool=2) as found:
        yield found


async def _work(bench: Bench, name: str) -> None:
    """Opens, sends, reads and runs, many at once."""
    runs = Runs(bench)
    await runs.put(name)
    await asyncio.gather(*(bench.open(f"{name}{number}", 0) for number in range(40)))
    sends = await asyncio.gather(*(bench.send(f"{name}{number}", "1") for number in range(40)))
    assert {sent.status for sent in sends} == {200}
    seen = await asyncio.gather(*(bench.get(f"{name}{number}") for number in range(40)))
    assert {trigger.status for trigger in seen} == {TriggerStatus.RECEIVED}
    for number in range(5):
        run = await runs.dispatch(name)
        await runs.wait(run, f"{name}:of:{number}")
        await bench.send(f"{name}:of:{number}", "2")
        (again,) = await runs.claim(name)
        await runs.complete(again, "3")


@pytest.mark.parametrize("told", [True, False])
async def test_two_stores_behind_a_pooler(database: PostgresBackend, pooler: Pgbouncer, told: bool) -> None:
    url = pooler.dsn(Target.of(database.url).database)
    async with (
        node(database, url, pooled=told, listen_url="") as one,
        node(database, url, pooled=told, listen_url="") as other,
    ):
        assert one.store._pooled
        for turn in range(3):
            await asyncio.gather(_work(one, f"one{turn}"), _work(other, f"other{turn}"))
        await until(lambda: one.store.members.has_others and other.store.members.has_others)
        assert one.store.writer.invariant_violations == other.store.writer.invariant_violations == 0


async def test_a_direct_connection_is_known_for_one(database: PostgresBackend) -> None:
    async with node(database) as bench:
        assert not bench.store._pooled


async def test_a_pooler_that_comes_later_is_found_out_by_its_errors(
    database: PostgresBackend, pooler: Pgbouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the writer too, which may be the first to meet it."""
    async with node(database, listen_url="") as bench:
        await bench.open("a", 0)
        await bench.get("a")
        access = bench.store._access
        bench.store._access = access._replace(url=pooler.dsn(Target.of(database.url).database))
        for line in (bench.writing.line, *(reader.line for reader in bench.store._idle_readers)):
            line.drop()
        await asyncio.gather(*(_work(bench, f"w{number}") for number in range(4)))
