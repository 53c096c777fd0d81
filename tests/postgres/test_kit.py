"""The servers that other tests stand on do what they say: databases, crashes, failover, pooling, and the end of it all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.postgres import binaries
from tests.postgres.cluster import Cluster, drop_database, fresh_database, shared
from tests.postgres.pgbouncer import Pgbouncer
from tests.postgres.session import Session, SqlError
from tests.postgres.standby import Standby

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of Debian's, on a port."""
    with Cluster(tcp=True) as found:
        yield found


@pytest.fixture
def dsn() -> Iterator[str]:
    found = fresh_database()
    yield found
    drop_database(found)


def _fill(dsn: str) -> None:
    with Session(dsn) as session:
        session.run("create table filled as select 1 as one")


async def test_a_driver_finds_a_fresh_database_empty(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    tables = await connection.fetchval(
        "select count(*) from information_schema.tables where table_schema = 'public'"
    )
    await connection.close()
    assert tables == 0


def test_databases_are_apart(dsn: str) -> None:
    others = [fresh_database() for _ in range(5)]
    _fill(dsn)
    for other in others:
        with Session(other) as session, pytest.raises(SqlError, match="42P01"):
            session.run("select * from filled")
        drop_database(other)


def test_what_a_database_is_prepared_with_is_made_once() -> None:
    calls: list[str] = []

    def prepare(dsn: str) -> None:
        calls.append(dsn)
        _fill(dsn)

    made = [shared().create_database(prepare) for _ in range(3)]
    for dsn in made:
        with Session(dsn) as session:
            assert session.run("select one from filled") == [("1",)]
            session.run("drop table filled")
    assert len(calls) == 1


def test_a_database_goes_also_while_somebody_is_connected() -> None:
    dsn = fresh_database()
    with Session(dsn) as session:
        drop_database(dsn)
        with pytest.raises((SqlError, OSError)):
            session.run("select 1")


@pytest.mark.parametrize("durable", [False, True])
def test_after_a_crash_what_was_committed_is_there_and_the_rest_is_not(durable: bool) -> None:
    with Cluster(binaries.wheel(), durable=durable) as cluster:
        cluster.sql("create table kept (number int)")
        with Session(cluster.dsn()) as session:
            session.run("insert into kept values (1)")
            session.run("begin")
            session.run("insert into kept values (2)")
            cluster.crash()
        cluster.start()
        assert cluster.sql("select number from kept") == [("1",)]
        cluster.stop()
        cluster.start()
        assert cluster.sql("select number from kept") == [("1",)]


def test_the_versions_and_their_collations(cluster: Cluster) -> None:
    assert cluster.sql("select 'a' < 'B'") == [("t",)]
    assert shared().sql("select 'a' < 'B'") == [("f",)]
    with Cluster(binaries.wheel(16)) as older:
        assert older.sql("show server_version_num")[0][0] < "170000"  # type: ignore[operator]
    assert shared().sql("select current_setting('server_version_num')::int >= 180000") == [("t",)]


async def test_a_synchronous_standby_has_each_commit_and_takes_over() -> None:
    with Cluster(binaries.wheel(), tcp=True) as primary, Standby(primary) as standby:
        primary.sql("create table kept as select 1 as number")
        with pytest.raises(SqlError, match="25006"):
            standby.sql("insert into kept values (2)")
        primary.crash()
        standby.promote()
        connection = await asyncpg.connect(standby.either())
        await connection.execute("insert into kept values (2)")
        assert await connection.fetchval("select sum(number) from kept") == 3
        await connection.close()


async def test_clients_of_pgbouncer_share_sessions(cluster: Cluster) -> None:
    with Pgbouncer(cluster, pool=2) as bouncer:
        clients = [await asyncpg.connect(bouncer.dsn("postgres"), statement_cache_size=0) for _ in range(6)]
        busy = [client.fetchval("select pg_backend_pid() from pg_sleep(0.05)") for client in clients]
        sessions = await asyncio.gather(*busy)
        for client in clients:
            await client.close()
        assert len(set(sessions)) == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_server_outlives_the_tests(how: signal.Signals) -> None:
    """Also if they were killed, and also from a thread that ended before."""
    story = (
        "import threading, time\n"
        "from tests.postgres.cluster import shared\n"
        "thread = threading.Thread(target=shared); thread.start(); thread.join()\n"
        "print(shared().folder, shared().sql('select 1')[0][0], flush=True)\n"
        "time.sleep(60)"
    )
    tests = subprocess.Popen(
        [sys.executable, "-c", story], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )
    assert tests.stdout is not None
    folder, answer = tests.stdout.readline().split()
    number = int((Path(folder) / "data" / "postmaster.pid").read_text().split()[0])
    assert answer == "1"
    tests.send_signal(how)
    tests.wait()
    tests.stdout.close()
    until = time.monotonic() + 20
    while Path(folder).exists() or _runs(number):
        assert time.monotonic() < until
        time.sleep(0.01)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="max_connections"):
        Cluster(binaries.wheel(), settings={"max_connections": "'many'"})
