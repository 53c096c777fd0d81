"""The proxy breaks connections where it was told, and only there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from tests.postgres.cluster import drop_database, fresh_database
from tests.postgres.faults import Fate
from tests.postgres.proxy import Proxy
from tests.postgres.session import Session
from tests.postgres.wire import Commits, Message, Side, Splitter, encoded

LOST = (asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError, OSError)


@pytest.fixture
def dsn() -> Iterator[str]:
    """A database with an empty table."""
    found = fresh_database()
    with Session(found) as session:
        session.run("create table rows (number int primary key)")
    yield found
    drop_database(found)


async def _insert(connection: asyncpg.Connection, number: int) -> None:
    async with connection.transaction():
        await connection.execute("insert into rows values ($1)", number)


def _rows(dsn: str) -> list[int]:
    with Session(dsn) as session:
        return [int(number or "") for (number,) in session.run("select number from rows order by 1")]


def _locked(dsn: str) -> bool:
    """Whether a transaction that has written is still open."""
    with Session(dsn) as session:
        return session.run("select 1 from pg_stat_activity where state = 'idle in transaction'") != []


async def _unlocked(dsn: str) -> None:
    """Wait until there is none: the server needs a moment to see that a client has gone."""
    while _locked(dsn):
        await asyncio.sleep(0.01)


async def test_without_rules_all_passes_and_is_counted(dsn: str) -> None:
    async with Proxy(dsn) as proxy:
        connection = await asyncpg.connect(proxy.dsn)
        before = dict(proxy.seen)
        await connection.execute("select 1")
        assert proxy.seen[Side.CLIENT] - before[Side.CLIENT] == 1
        await _insert(connection, 1)
        assert (proxy.commits, proxy.connections) == (1, 1)
        await connection.close()
    assert _rows(dsn) == [1]


async def test_each_message_of_a_transaction_can_be_the_last(dsn: str) -> None:
    """Whatever the client's last message is: the insert is there with its commit, or not at all."""
    async with Proxy(dsn) as proxy:
        connection = await asyncpg.connect(proxy.dsn)
        before = proxy.seen[Side.CLIENT]
        await _insert(connection, 0)
        messages = proxy.seen[Side.CLIENT] - before
        await connection.close()
        for number in range(1, messages + 1):
            proxy.heal()
            connection = await asyncpg.connect(proxy.dsn)
            proxy.cut_at(number)
            with pytest.raises(LOST):
                await _insert(connection, number)
            await proxy.struck()
            connection.terminate()
    assert messages > 5
    assert _rows(dsn) == [0]


@pytest.mark.parametrize(("when", "kept"), [("before", []), ("after", [1])])
@pytest.mark.parametrize("fate", [Fate.CUT, Fate.HALF_OPEN])
async def test_a_commit_is_lost_on_its_way_there_or_back(
    dsn: str, when: str, kept: list[int], fate: Fate
) -> None:
    async with Proxy(dsn) as proxy:
        connection = await asyncpg.connect(proxy.dsn)
        proxy.on_commit("after" if when == "after" else "before", fate)
        inserting = asyncio.create_task(_insert(connection, 1))
        await proxy.struck()
        await asyncio.wait([inserting], timeout=0.2 if fate is Fate.HALF_OPEN else None)
        assert inserting.done() is (fate is Fate.CUT)
        assert _rows(dsn) == kept
        if (fate, when) == (Fate.HALF_OPEN, "before"):
            assert _locked(dsn)
        else:
            await _unlocked(dsn)
        connection.terminate()
        with pytest.raises(LOST):
            await inserting


async def test_an_orphaned_session_keeps_its_transaction_open(dsn: str) -> None:
    async with Proxy(dsn) as proxy:
        connection = await asyncpg.connect(proxy.dsn)
        proxy.on_commit("before", Fate.ORPHAN)
        with pytest.raises(LOST):
            await _insert(connection, 1)
        assert _locked(dsn)
        proxy.cut()
        await _unlocked(dsn)
    assert _rows(dsn) == []


async def test_a_commit_arrives_long_after_its_client_has_gone(dsn: str) -> None:
    async with Proxy(dsn) as proxy:
        connection = await asyncpg.connect(proxy.dsn)
        proxy.on_commit("before", Fate.LATE)
        with pytest.raises(LOST):
            await _insert(connection, 1)
        assert (_rows(dsn), _locked(dsn)) == ([], True)
        proxy.release()
        while not _rows(dsn):
            await asyncio.sleep(0.01)


async def test_a_message_can_be_held(dsn: str) -> None:
    async with Proxy(dsn) as proxy:
        connection = await asyncpg.connect(proxy.dsn)
        proxy.on_commit("before", Fate.HOLD)
        inserting = asyncio.create_task(_insert(connection, 1))
        await proxy.struck()
        assert _rows(dsn) == []
        proxy.release()
        await inserting
        assert _rows(dsn) == [1]
        await connection.close()


async def test_a_server_that_is_out_of_reach_comes_back(dsn: str) -> None:
    async with Proxy(dsn) as proxy:
        connection = await asyncpg.connect(proxy.dsn)
        proxy.half_open()
        for slow in (connection.execute("select 1"), asyncpg.connect(proxy.dsn)):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(slow, 0.2)
        connection.terminate()
        proxy.refuse()
        with pytest.raises(LOST):
            await asyncpg.connect(proxy.dsn)
        proxy.heal()
        connection = await asyncpg.connect(proxy.dsn)
        proxy.cut()
        with pytest.raises(LOST):
            await connection.execute("select 1")


async def test_messages_can_be_slow_and_the_target_another(dsn: str) -> None:
    other = fresh_database()
    async with Proxy(dsn) as proxy:
        proxy.retarget(other)
        connection = await asyncpg.connect(proxy.dsn)
        assert await connection.fetchval("select to_regclass('rows')") is None
        proxy.delay_secs = 0.05
        began = asyncio.get_running_loop().time()
        await connection.execute("select 1")
        assert asyncio.get_running_loop().time() - began > 0.1
        proxy.heal()
        await connection.close()
    drop_database(other)


def test_a_message_is_whole_however_it_arrives() -> None:
    first, second = encoded("", b"\0\3\0\0user\0me\0\0"), encoded("Q", b"commit\0")
    splitter = Splitter(Side.CLIENT)
    found = [message for byte in first + second for message in splitter.feed(bytes([byte]))]
    assert [(message.kind, message.raw) for message in found] == [("", first), ("Q", second)]
    assert found[1].ends_transaction


@pytest.mark.parametrize(
    ("sql", "commits"),
    [
        ("COMMIT;", True),
        ("insert x; commit", True),
        ("end", True),
        ("begin", False),
        ("select 'commit'", False),
    ],
)
def test_a_commit_is_known_also_if_it_was_prepared(sql: str, commits: bool) -> None:
    known = Commits()
    sent = [
        ("P", b"s1\0" + sql.encode() + b"\0\0\0", False),
        ("B", b"\0s1\0\0\0\0\0\0\0", False),
        ("E", b"\0\0\0\0\0", commits),
        ("B", b"\0s2\0\0\0\0\0\0\0", False),
        ("E", b"\0\0\0\0\0", False),
        ("Q", sql.encode() + b"\0", commits),
    ]
    for kind, body, expected in sent:
        assert known.carried_by(Message(Side.CLIENT, kind, body, b"")) is expected
