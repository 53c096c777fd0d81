"""What a small PostgreSQL refuses: a batch that needs more locks than it has room for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import pytest

from narrows.errors import Unavailable
from narrows.operations.events import BatchEvent
from tests.postgres.cluster import Cluster
from tests.postgres.session import Session, SqlError
from tests.storage.nodes.kit import Elsewhere, node

#: PostgreSQL takes fewer connections or locks of each for a mistake.
SMALL = {"max_connections": "16", "max_locks_per_transaction": "10", "max_wal_senders": "0"}
FULL = "out of shared memory"
STEP = 100


def _held(keys: Iterable[str]) -> list[BatchEvent]:
    """Each locks the name of its key."""
    return [BatchEvent(key, "1", hold_secs=60) for key in keys]


def _fill(session: Session) -> None:
    """Take locks until there are none left, then give one or two hundred back."""
    session.run("begin")
    for step in count():
        session.run(f"savepoint s{step}")
        first = step * STEP
        try:
            session.run(
                f"select pg_advisory_xact_lock(n) from generate_series({first}, {first + STEP - 1}) as n"
            )
        except SqlError as error:
            assert FULL in str(error)  # noqa: PT017 - another one is a fault
            session.run(f"rollback to s{step - 1}")
            return


async def test_a_batch_that_fills_the_table_of_locks_is_split(caplog: pytest.LogCaptureFixture) -> None:
    with Cluster(settings=SMALL) as cluster:
        url = cluster.create_database()
        async with node(Elsewhere(url)) as bench:
            await bench.perform(bench.batch(*_held(["warm"])))
            with Session(url) as others:
                _fill(others)
                some = [bench.batch(*_held(f"{n}.{m}" for m in range(10))) for n in range(30)]
                outcomes = await bench.together(*some)
                assert [each for each in outcomes if isinstance(each, BaseException)] == []
            assert (await bench.stats()).held == 301
    assert any("one at a time" in record.getMessage() for record in caplog.records)


async def test_an_operation_that_fills_the_table_by_itself_is_told_so() -> None:
    with Cluster(settings=SMALL) as cluster:
        async with node(Elsewhere(cluster.create_database())) as bench:
            with pytest.raises(Unavailable, match=FULL):
                await bench.perform(bench.batch(*_held(map(str, range(2_000)))))
            await bench.open("a", 0)
