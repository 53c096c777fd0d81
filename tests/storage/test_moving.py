"""A store that is moved to the other kind of database: all of it is there, row for row, also after the move
was killed anywhere; what must not be moved is refused; a difference is found."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from narrows import server
from narrows.config import Config, ConfigInvalid
from narrows.errors import NarrowsError, SchemaUnknown, StorageError, StoreLocked
from narrows.keyring import Keyring
from narrows.storage import files, sqlite
from narrows.storage.moving import embedded, shared
from narrows.storage.moving.move import Move, Moved, checksum
from narrows.storage.moving.tables import CHUNK_ROWS, Table, tables
from narrows.storage.postgres_store import Access, PostgresStore
from narrows.storage.statements import for_postgres
from narrows.testing import ManualClock
from tests.cli.conftest import environment
from tests.postgres.cluster import drop_database, fresh_database
from tests.postgres.session import Session
from tests.storage.everything import fill
from tests.storage.kit import SqliteBackend, opened

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store with something of everything."""
    backend = SqliteBackend(tmp_path_factory.mktemp("full"))
    asyncio.run(_fill(backend))
    connection = sqlite.connect(backend.path)
    connection.execute(
        "insert into api_keys (id, name, scopes, secret_hash, created_at, expires_at) values (?, ?, ?, ?, ?, ?)",
        ("key", "", '"\\\t\n\u00e9\u2028\U0001f600\x7f', "hash", -(2**63), 2**63 - 1),
    )
    # Keys that sort otherwise by another order than that of their bytes.
    for name in ("a", "B", "\u00e9", "e", "Z", "\uffff", "\U0001f600", "_", "-", "a b", "ab"):
        connection.execute("insert into marks values (?, 1)", (name,))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    return backend.path.read_bytes()


async def _fill(backend: SqliteBackend) -> None:
    async with opened(backend) as bench:
        await fill(bench)


@pytest.fixture
def old(full: bytes, tmp_path: Path) -> Config:
    """An embedded store with something of everything, and its secret key."""
    (tmp_path / "old").mkdir()
    config = Config(data=tmp_path / "old")
    config.database_path.write_bytes(full)
    Keyring.open(config.data, None)
    return config


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Config]:
    """An empty PostgreSQL database."""
    url = fresh_database()
    yield Config(data=tmp_path / "node", database=url)
    drop_database(url)


def moved(source: Config, target: Config) -> Moved:
    return server.move(source, target, lambda doing, done, everything: None)


def sql(config: Config, text: str) -> list[tuple[str | None, ...]]:
    with Session(config.database) as session:
        return session.run(text)


def rows_of(path: Path, *, room: bool = False) -> dict[str, list[Any]]:
    """Every row of every table, as SQLite has it."""
    connection = sqlite.connect(path, read_only=True)
    found = {}
    for table in tables():
        columns = ", ".join([*table.columns, *(["room"] if room and table.room else [])])
        found[table.name] = list(connection.execute(f"select {columns} from {table.name} order by 1, 2"))
    connection.close()
    return found


# ---- both ways -----------------------------------------------------------------------------------


def test_everything_goes_to_postgresql_and_back_row_for_row(old: Config, new: Config, tmp_path: Path) -> None:
    before = old.database_path.read_bytes()
    there = moved(old, new)
    assert there.faults == []
    assert old.database_path.read_bytes() == before
    assert server.verify(new) == []
    back = Config(data=tmp_path / "back")
    assert moved(new, back) == there
    assert server.verify(back) == []
    expected = rows_of(old.database_path)
    assert rows_of(back.database_path) == expected
    assert [name for name, rows in expected.items() if not rows] == []
    assert there.rows == sum(map(len, expected.values()))


def test_rows_get_back_the_room_that_their_next_update_needs(
    old: Config, new: Config, tmp_path: Path
) -> None:
    moved(old, new)
    back = Config(data=tmp_path / "back")
    moved(new, back)
    for config in (old, back):
        connection = sqlite.connect(config.database_path)
        rooms = "select distinct length(room) from triggers where status = 'waiting' = ?"
        assert connection.execute(rooms, (True,)).fetchall() == [(128,)]
        if config is back:  # in the other, what was settled as it was opened keeps what it got
            assert connection.execute(rooms, (False,)).fetchall() == [(None,)]
        assert connection.execute(
            "select distinct length(room) from runs where dispatch = 0 and finished_at is null"
        ).fetchall() == [(160,)]
        connection.close()


def test_both_kinds_have_the_same_tables(new: Config) -> None:
    asyncio.run(_made(new))
    found: dict[str, set[str]] = {}
    for table, column in sql(
        new,
        "select table_name, column_name from information_schema.columns where table_schema = 'public'",
    ):
        found.setdefault(str(table), set()).add(str(column))
    for own in ("schema_migrations", "nodes", "batches", "installation"):
        del found[own]
    assert {table.name: set(table.columns) for table in tables()} == found
    assert all(table.key for table in tables())


async def _made(config: Config) -> None:
    store = PostgresStore(Access(config.database), ManualClock(), database_time=False)
    await store.open()
    await store.close()


def test_the_store_goes_on_where_it_was_moved_to(old: Config, new: Config) -> None:
    moved(old, new)
    assert {row[0] for row in sql(new, "select value from installation")} == set(
        Keyring.open(old.data, None).fingerprints
    )
    new.data.mkdir()
    with pytest.raises(StorageError, match="not the one of the other nodes"):
        asyncio.run(server.has_api_keys(new))
    (new.data / "secret.key").unlink()
    (new.data / "secret.key").hardlink_to(old.data / "secret.key")
    assert asyncio.run(server.has_api_keys(new))


# ---- killed and gone on ----------------------------------------------------------------------------

#: Runs a move that ends by SIGKILL at the n-th call of a method: before it, or when it is done.
KILLED = """
import os, signal, sys
from narrows import server
from narrows.config import Config
from narrows.storage.moving import embedded, shared, tables
from pathlib import Path

source, data, target, method, place, when = sys.argv[1:]
calls = 0

def deadly(known):
    async def call(self, *arguments):
        global calls
        calls += 1
        if calls == int(place) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = await known(self, *arguments)
        if calls == int(place):
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call

for side in (embedded.Embedded, shared.Shared):
    setattr(side, method, deadly(getattr(side, method)))
embedded.CHUNK_ROWS = shared.CHUNK_ROWS = embedded.PIECE_ROWS = shared.PIECE_ROWS = 2
server.move(Config(data=Path(data), database=source), Config(data=Path(data), database=target), lambda *_: None)
"""


def killed(source: Config, target: Config, method: str, place: int, when: str) -> None:
    file = target if source.is_shared else source
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED,
            source.database,
            str(file.data),
            target.database,
            method,
            str(place),
            when,
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


PLACES = [
    ("begin", 1, "after"),
    ("write", 1, "before"),
    ("write", 5, "after"),
    ("write", 20, "before"),
    ("write", 33, "after"),
    ("faults", 1, "after"),
    ("finish", 1, "before"),
]


@pytest.mark.parametrize(("method", "place", "when"), PLACES)
def test_a_killed_move_to_postgresql_goes_on(
    old: Config, new: Config, method: str, place: int, when: str
) -> None:
    killed(old, new, method, place, when)
    with pytest.raises(SchemaUnknown, match="has not ended"):
        asyncio.run(server.has_api_keys(new))
    assert moved(old, new).faults == []
    assert asyncio.run(_checksums(old, new)) == (True, len(tables()))


@pytest.mark.parametrize(("method", "place", "when"), PLACES)
def test_a_killed_move_to_sqlite_goes_on(
    old: Config, new: Config, tmp_path: Path, method: str, place: int, when: str
) -> None:
    moved(old, new)
    back = Config(data=tmp_path / "back")
    killed(new, back, method, place, when)
    with pytest.raises(SchemaUnknown, match="has not ended"):
        asyncio.run(server.has_api_keys(back))
    assert moved(new, back).faults == []
    assert rows_of(back.database_path) == rows_of(old.database_path)


async def _checksums(old: Config, new: Config) -> tuple[bool, int]:
    """Whether all tables are equal, and how many there are."""
    folders = {old.data}
    async with (
        embedded.source(old.database_path, folders) as one,
        shared.source(new.database, "new", ()) as other,
    ):
        pairs = [
            [await checksum(side, table, lambda rows: None) for side in (one, other)] for table in tables()
        ]
    return all(one == other for one, other in pairs), len(pairs)


def test_what_is_copied_already_is_not_copied_again(
    old: Config, new: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(old, new, "write", 33, "after")
    remembered = sql(new, "select name, value from moving where name <> ''")
    assert sum(json.loads(str(value))["rows"] for _, value in remembered) > 33
    written: dict[str, int] = {}
    known = shared.Shared.write

    async def counted(self: Any, table: Table, chunk: Any, progress: str) -> None:
        written[table.name] = written.get(table.name, 0) + len(chunk.rows)
        await known(self, table, chunk, progress)

    monkeypatch.setattr(shared.Shared, "write", counted)
    everything = moved(old, new).rows
    assert sum(written.values()) == everything - sum(
        json.loads(str(value))["rows"] for _, value in remembered
    )


# ---- refused ---------------------------------------------------------------------------------------


def refused(kind: type[NarrowsError], says: str, source: Config, target: Config) -> None:
    with pytest.raises(kind, match=says):
        moved(source, target)


def test_a_served_file_is_neither_moved_nor_filled(old: Config, new: Config, tmp_path: Path) -> None:
    lock = files.DataLock(old.data)
    refused(StoreLocked, "Another process", old, new)
    lock.release()
    moved(old, new)
    lock = files.DataLock(tmp_path / "back")
    refused(StoreLocked, "Another process", new, Config(data=tmp_path / "back"))
    lock.release()


def test_a_database_with_nodes_is_neither_moved_nor_filled(old: Config, new: Config, tmp_path: Path) -> None:
    asyncio.run(_beside_a_node(new, lambda: refused(StorageError, "served by 1 node", old, new)))
    moved(old, new)
    back = Config(data=tmp_path / "back")
    asyncio.run(_beside_a_node(new, lambda: refused(StorageError, "served by 1 node", new, back)))
    assert not back.database_path.exists()


async def _beside_a_node(config: Config, work: Callable[[], None]) -> None:
    store = PostgresStore(Access(config.database), ManualClock(), database_time=False)
    await store.open()
    store.start()
    await asyncio.to_thread(work)
    await store.close()


def test_a_node_that_comes_while_it_is_moved_is_kept_out(old: Config, new: Config) -> None:
    assert shared._KEEP_NODES_OUT.partition("(")[2] == for_postgres()["lock_nodes"].sql.partition("(")[2]
    moved(old, new)
    asyncio.run(_joining(new))


async def _joining(config: Config) -> None:
    store = PostgresStore(Access(config.database), ManualClock(), database_time=False)
    async with shared.source(config.database, "new", ()):
        joining = asyncio.create_task(store.open())
        await asyncio.sleep(0.3)
        assert not joining.done()
    await joining
    await store.close()


def test_a_node_that_wakes_up_meanwhile_is_seen_at_the_end(
    old: Config, new: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(old, new)
    known = embedded.Embedded.begin

    async def begin(self: embedded.Embedded, origin: str) -> None:
        await known(self, origin)
        sql(
            new,
            "insert into nodes select 'a', 0, 'sleeper', '1', t, t from"
            " (select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as t) as now",
        )

    monkeypatch.setattr(embedded.Embedded, "begin", begin)
    back = Config(data=tmp_path / "back")
    refused(StorageError, r"served by 1 node \(sleeper\)", new, back)
    sql(new, "delete from nodes")
    monkeypatch.undo()
    assert moved(new, back).faults == []


def test_what_holds_something_else_is_not_filled(old: Config, new: Config, tmp_path: Path) -> None:
    moved(old, new)
    refused(StorageError, "holds something already", old, new)
    other = Config(data=tmp_path / "other")
    asyncio.run(_fill(SqliteBackend_at(other.database_path)))
    before = rows_of(other.database_path)
    refused(StorageError, "holds something already", new, other)
    assert rows_of(other.database_path) == before


def SqliteBackend_at(path: Path) -> SqliteBackend:  # noqa: N802 - made like one
    path.parent.mkdir()
    return SqliteBackend(path.parent)


def test_a_move_of_another_store_is_not_gone_on_with(old: Config, new: Config, tmp_path: Path) -> None:
    killed(old, new, "write", 5, "after")
    connection = sqlite.connect(old.database_path)
    connection.execute("insert into projects (id, created_at) values ('later', 1)")
    connection.close()
    refused(StorageError, "has changed since", old, new)


def test_other_refusals(old: Config, new: Config, tmp_path: Path) -> None:
    refused(ConfigInvalid, "One of the two", old, Config(data=tmp_path / "other"))
    refused(StorageError, "There is no database", Config(data=tmp_path / "none"), new)
    assert not (tmp_path / "none").exists()
    refused(SchemaUnknown, "empty or of an older version", new, Config(data=tmp_path / "other"))
    foreign = Config(data=tmp_path / "foreign")
    foreign.data.mkdir()
    connection = apsw.Connection(str(foreign.database_path))
    connection.execute("create table t (a)")
    connection.close()
    moved(old, new)
    refused(SchemaUnknown, "another program", new, foreign)
    elsewhere = Config(data=tmp_path / "elsewhere")
    Keyring.open(elsewhere.data, None)
    refused(StorageError, "secret key beside the target", new, elsewhere)


# ---- compared --------------------------------------------------------------------------------------

PLANTED = [
    "update triggers set name = 'x' where status = 'waiting'",
    "delete from facts where kind = 'run.resumed'",
    "insert into marks values ('m', 1)",
    "update payloads set body = body || ' '",
    "update counters set wait_us = wait_us + 1",
    "update runs set scheduled_at = null where scheduled_at is not null",
]


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("way", ["there", "back"])
def test_a_difference_is_found(
    old: Config, new: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, planted: str
) -> None:
    """What was written turns into something else on its way to the disk."""
    source, target = old, new
    if way == "back":
        moved(old, new)
        source, target = new, Config(data=tmp_path / "back")
    known = Move._compare

    async def compare(self: Any, table: Table) -> None:
        if table == tables()[0]:
            raw = self._target._raw
            await raw.execute(planted) if way == "there" else raw.execute(planted)
        await known(self, table)

    monkeypatch.setattr(Move, "_compare", compare)
    refused(StorageError, "is not equal to its source", source, target)
    with pytest.raises(SchemaUnknown, match="has not ended"):
        asyncio.run(server.has_api_keys(target))


def test_a_fault_of_the_source_is_told_and_moved(old: Config, new: Config) -> None:
    connection = sqlite.connect(old.database_path)
    connection.execute("update counters set received = received + 1")
    connection.close()
    assert [fault for fault in moved(old, new).faults if "statistics" in fault] != []
    assert server.verify(new) != []


def test_more_than_a_chunk(new: Config, tmp_path: Path) -> None:
    old = Config(data=tmp_path / "old")
    asyncio.run(_fill(SqliteBackend_at(old.database_path)))
    connection = sqlite.connect(old.database_path)
    connection.execute(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < ?)"
        " insert into marks select 'mark ' || i, i * 1000000007 from n",
        (2 * CHUNK_ROWS + 1,),
    )
    connection.close()
    moved(old, new)
    back = Config(data=tmp_path / "back")
    moved(new, back)
    assert rows_of(back.database_path) == rows_of(old.database_path)
