"""SQLite as one side of a move. A server holds the lock file of its data folder; whoever moves holds it too.
The source is opened for reading alone. SQLite's calls run in a thread, so that the other side works beside.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import apsw

from narrows.errors import SchemaUnknown, StorageError
from narrows.storage import files, migrations, sqlite
from narrows.storage import verify as checks
from narrows.storage.backend import Row
from narrows.storage.moving.tables import Chunk, Gathering, Table
from narrows.storage.statements import for_sqlite

T = TypeVar("T")

#: An index of due times is filled at random places.
_CACHE_MIB = 256


@contextlib.asynccontextmanager
async def source(path: Path, folders: set[Path]) -> AsyncIterator[Embedded]:
    """The database to copy, while nobody serves it. `folders` are those whose lock a server would hold.

    Raises StorageError, StoreLocked, SchemaUnknown, StoreCorrupt.
    """
    _refuse_missing(path)  # before a lock makes its folder
    with _locked(folders), _opened(path, read_only=True) as connection:
        if migrations.pending(_applied(connection)):
            raise SchemaUnknown(f"{path} is of an older version. Start this version's server on it once.")
        sqlite.refuse_half_moved(connection)
        connection.execute("begin")
        yield Embedded(connection, path)


@contextlib.asynccontextmanager
async def target(path: Path, folders: set[Path], now: int) -> AsyncIterator[Embedded]:
    """The database to fill; made where it is not there. Raises as `source` does."""
    with _locked(folders):
        files.refuse_network_file_system(path.parent)
        with _opened(path, read_only=False) as connection:
            side = Embedded(connection, path)
            is_ours = await side.progress() is not None
            ((has_tables,),) = connection.execute("select count(*) from sqlite_schema")
            if has_tables and not is_ours and migrations.pending(_applied(connection)):
                # It would have to be changed to be looked at, and it is not empty.
                raise StorageError(f"{path} is a store of an older version. Name a new file.")
            sqlite.migrate(connection, now)
            yield side


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise StorageError(f"There is no database {path} to move. Name its file.")


@contextlib.contextmanager
def _locked(folders: set[Path]) -> Iterator[None]:
    with contextlib.ExitStack() as locks:
        for folder in sorted(folders):
            locks.callback(files.DataLock(folder).release)
        yield


@contextlib.contextmanager
def _opened(path: Path, *, read_only: bool) -> Iterator[apsw.Connection]:
    connection = sqlite.connect(path, read_only=read_only, cache_mib=16 if read_only else _CACHE_MIB)
    try:
        yield connection
    except apsw.Error as error:
        raise sqlite.explain(error, path) from error
    finally:
        connection.close()


def _applied(connection: apsw.Connection) -> list[tuple[int, str]]:
    ((has_any,),) = connection.execute("select count(*) from sqlite_schema where name = 'schema_migrations'")
    return list(connection.execute("select number, checksum from schema_migrations")) if has_any else []


class Embedded:
    """An open SQLite database, as `move.Side` and `move.Target` want it."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._raw = connection

    async def newest_stamp(self) -> int | None:
        ((stamp,),) = self._raw.execute(for_sqlite()["last_stamp"])
        return None if stamp is None else int(stamp)

    async def count(self, table: Table) -> int:
        ((rows,),) = await _in_thread(lambda: list(self._raw.execute(table.counting)))
        return int(rows)

    async def chunks(self, table: Table, after: list[Any] | None) -> AsyncGenerator[Chunk, None]:
        sql = table.reading("?", is_begun=after is not None)
        cursor = self._raw.cursor()
        try:
            cursor.execute(sql, after or ())
            while (chunk := await _in_thread(_next_chunk, cursor)).rows:
                yield chunk
        finally:
            cursor.close(True)

    async def refuse_servers(self) -> None:
        """A server would need the lock that is held here."""

    async def progress(self) -> dict[str, str] | None:
        if not sqlite.is_half_moved(self._raw):
            return None
        return dict(self._raw.execute("select name, value from moving"))

    async def begin(self, origin: str) -> None:
        with self._raw:
            self._raw.execute("create table moving (name text not null primary key, value text not null)")
            self._remember("", origin)

    async def write(self, table: Table, chunk: Chunk, progress: str) -> None:
        await _in_thread(self._write, table, chunk.rows, progress)

    def _write(self, table: Table, rows: list[Row], progress: str) -> None:
        with self._raw:
            self._raw.executemany(table.inserting, rows)
            self._remember(table.name, progress)
        # Nobody else does it here, and the log would grow to the size of all.
        self._raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _remember(self, name: str, value: str) -> None:
        self._raw.execute(
            "insert into moving values (?, ?) on conflict (name) do update set value = excluded.value",
            (name, value),
        )

    async def faults(self) -> list[str]:
        return await _in_thread(checks.verify, self._path)

    async def finish(self) -> None:
        self._raw.execute("drop table moving")
        self._raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """What a thread comes to. Also who is cut off waits for its end: a connection is closed by nobody in
    the midst of something."""
    task = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    finally:
        await asyncio.wait([task])


def _next_chunk(cursor: apsw.Cursor) -> Chunk:
    """As many rows as one transaction takes."""
    gathering = Gathering()
    while (wanted := gathering.wanted) and (piece := list(islice(cursor, wanted))):
        gathering.add(piece)
    return gathering.chunk()
