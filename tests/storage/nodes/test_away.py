"""The database is away, or seems to be there and never answers: everybody is told at once, and when it is back
the store goes on by itself."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import OutcomeUnknown, Unavailable
from narrows.storage import connecting, line, lost_commits
from narrows.storage.connecting import open_connection
from tests.postgres.cluster import Cluster
from tests.postgres.faults import Fate
from tests.postgres.proxy import Proxy
from tests.postgres.wire import Side
from tests.storage.kit import PostgresBackend
from tests.storage.nodes.kit import Points, eventually, node, until


async def test_while_it_is_away_everybody_is_refused_at_once(database: PostgresBackend) -> None:
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        await bench.open("a", 0)
        proxy.refuse()
        proxy.cut()
        for ask in (lambda: bench.send("a", "1"), lambda: bench.open("b", 0), lambda: bench.get("a")) * 2:
            with pytest.raises(Unavailable) as refused:
                await ask()
            assert refused.value.retry_after_secs
        # No connection is tried for a while after one could not be opened: so it is at once.
        tried = proxy.connections
        refusals = await asyncio.gather(*(bench.send("a", "1") for _ in range(50)), return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in refusals)
        assert proxy.connections - tried < 10
        proxy.heal()
        assert (await eventually(lambda: bench.send("a", "1"), Unavailable)).status == 200
        assert (await bench.get("a")).status == TriggerStatus.RECEIVED


async def test_a_server_that_was_started_again_is_found_again(database: PostgresBackend) -> None:
    """With a server of its own, which is crashed: reads and writes of connections that it had."""
    with Cluster() as cluster:
        elsewhere = _Elsewhere(cluster.create_database())
        async with node(elsewhere) as bench:
            await bench.open("a", 0)
            await bench.get("a")
            await asyncio.to_thread(cluster.crash)
            for ask in (lambda: bench.get("a"), lambda: bench.send("a", "1")):
                with pytest.raises(Unavailable):
                    await ask()
            await asyncio.to_thread(cluster.start)
            assert (await eventually(lambda: bench.get("a"), Unavailable)).status == TriggerStatus.WAITING
            assert (await eventually(lambda: bench.send("a", "1"), Unavailable)).status == 200


class _Elsewhere(PostgresBackend):
    """A database that is not one of the shared server's."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.mark.parametrize("what", ["read", "send"])
async def test_a_half_open_connection_is_given_up(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(line, "CALL_SECS", 0.3)
    monkeypatch.setattr(connecting, "CONNECT_SECS", 0.3)
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        await bench.open("a", 0)
        await bench.get("a")
        proxy.half_open()
        with pytest.raises(Unavailable):
            await (bench.get("a") if what == "read" else bench.send("a", "1"))
        proxy.heal()
        assert (await eventually(lambda: bench.send("a", "1"), Unavailable)).status == 200


@pytest.mark.parametrize(
    ("hold_secs", "before"), [(60, "flushed"), (None, "applied")], ids=["steps", "single"]
)
async def test_a_commit_into_a_half_open_connection_is_unknown_in_the_end(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch, hold_secs: int | None, before: str
) -> None:
    for module, name in ((line, "CALL_SECS"), (connecting, "CONNECT_SECS"), (lost_commits, "RESOLVE_SECS")):
        monkeypatch.setattr(module, name, 0.3)
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        await bench.open("a", 0)
        points = Points(bench)

        async def freeze() -> None:
            proxy.half_open()

        points.at(before, freeze)
        with pytest.raises(OutcomeUnknown):
            await bench.send("a", "1", hold_secs=hold_secs)
        proxy.heal()
        proxy.cut()  # else the server keeps the transaction, with its locks, for its ten seconds
        assert (await eventually(lambda: bench.send("a", "1"), Unavailable)).status == 200


async def test_a_connection_may_become_half_open_at_any_message_of_its_opening(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver bounds how long it takes to log in, and not what follows."""
    monkeypatch.setattr(connecting, "CONNECT_SECS", 0.2)
    async with Proxy(database.url) as proxy:
        (await open_connection(proxy.dsn, pooled=False)).terminate()
        messages = proxy.seen[Side.SERVER]
        for number in range(1, messages, 3):
            proxy.heal()
            proxy.cut_at(number, Side.SERVER, fate=Fate.HALF_OPEN)
            async with asyncio.timeout(10):
                with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                    await open_connection(proxy.dsn, pooled=False)
    assert messages > 10


async def test_reads_are_refused_while_no_server_takes_writes(database: PostgresBackend) -> None:
    """As between the fall of a primary and the promotion of its standby."""
    with Cluster() as cluster:
        made = _Elsewhere(cluster.create_database())
        wanted = f"{made.url}&target_session_attrs=read-write"
        async with node(made, wanted) as bench:
            await bench.open("a", 0)
            cluster.configure(default_transaction_read_only="on")
            bench.writing.line.drop()
            for reader in bench.store._idle_readers:
                reader.line.drop()
            for ask in (lambda: bench.get("a"), lambda: bench.send("a", "1")):
                with pytest.raises(Unavailable):
                    await ask()
            cluster.sql("alter system reset default_transaction_read_only")
            cluster.sql("select pg_reload_conf()")
            assert (await eventually(lambda: bench.send("a", "1"), Unavailable)).status == 200


@pytest.mark.parametrize(
    ("sqlstate", "condition"),
    [
        ("40001", "serialization_failure"),
        ("40P01", "deadlock_detected"),
        ("55P03", "lock_not_available"),
    ],
)
@pytest.mark.parametrize("at", ["loads", "writes", "commit", "single"])
async def test_lost_races_are_run_again_inside(
    database: PostgresBackend, sqlstate: str, condition: str, at: str
) -> None:
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        await bench.open("a", 0)
        connection = bench.writing
        points = Points(bench)

        async def refuse() -> None:
            """The next statement fails as the server would have it fail."""
            raise_it = f"do $$ begin raise exception '{condition}' using errcode = '{sqlstate}'; end $$"
            if at == "commit":
                connection.line.run = _first(connection.line, raise_it)
                points.at("begin", lambda: _restore(connection.line))
                return
            if at == "single":
                connection.line.fetch = lambda *_: line.Line.run(connection.line, raise_it)
                points.at("begin", lambda: _restore(connection.line))
                return
            try:
                await connection.line.run(raise_it)
            except Exception as error:
                raise connection._failure(error) from error

        steps = {"loads": "loaded", "writes": "flushed", "commit": "flushed", "single": "applied"}
        points.at(steps[at], refuse)
        assert (await bench.send("a", "1", hold_secs=None if at == "single" else 60)).status == 200
        assert points.seen.count("begin") == 2
        assert (await bench.stats()).received == 1


def _first(line_: line.Line, sql: str) -> object:
    """A `run` that lets the server refuse the statement that follows, in the same trip."""

    async def run(statements: str) -> None:
        await line.Line.run(line_, f"{sql}; {statements}" if "commit" in statements else statements)

    return run


async def _restore(line_: line.Line) -> None:
    """It has its own methods again."""
    for name in ("run", "fetch"):
        line_.__dict__.pop(name, None)


async def test_a_stream_of_changes_is_open_throughout(database: PostgresBackend) -> None:
    """Whoever follows the commits of a store has them again when the database is back."""
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        await bench.open("a", 0)
        proxy.refuse()
        proxy.cut()
        with pytest.raises(Unavailable):
            await bench.send("a", "1")
        proxy.heal()
        bench.commits.clear()
        await eventually(lambda: bench.send("a", "1"), Unavailable)
        await until(lambda: any(commit.triggers for commit in bench.commits))
