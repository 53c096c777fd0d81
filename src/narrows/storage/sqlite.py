"""SQLite by apsw, which brings a current library: connections, and what a row set looks like.

WAL with `synchronous=FULL`: a commit is acknowledged only after it is durable. Every page carries a
checksum (SQLite's own checksum VFS), so that a flipped bit is refused and never served. Statements
are set-based, and a result comes back as one JSON text: a driver gives up Python's lock at every
step, and a busy event loop lets it wait for it. All connections of a process use this one library.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import apsw.ext
import apsw.sqlite_extra
import msgspec

from narrows.clock import Clock
from narrows.errors import NarrowsError, SchemaUnknown, StorageError, StoreCorrupt
from narrows.storage import migrations
from narrows.storage.backend import BackendFailure, Row, Touch, Write
from narrows.storage.statements import for_sqlite

#: "nrws", in the header of every database of ours.
APPLICATION_ID: Final = 0x6E727773
#: Older libraries can corrupt a WAL under two writers.
OLDEST_LIBRARY: Final = (3, 51, 3)
#: The checksum VFS keeps 8 bytes at the end of every page.
CHECKSUM_BYTES: Final = 8
_IOERR_FSYNC: Final = 1034
_IOERR_DIR_FSYNC: Final = 1290
_IOERR_DATA: Final = 8202  # a page whose checksum does not hold

#: How long a connection waits for a lock of another one.
BUSY_TIMEOUT_MS: Final = 5_000
#: Combinations of lookups whose SQL is kept.
MAX_LOADS: Final = 1_000

_encode = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(list[tuple[Any, ...]]).decode
_vfs_lock = threading.Lock()
_vfs_loaded = False


def load_checksum_vfs() -> None:
    """Load the checksum VFS once per process; it goes over whatever VFS is the default then.

    Raises StorageError where the SQLite library is too old or has no checksums.
    """
    global _vfs_loaded
    with _vfs_lock:
        if _vfs_loaded:
            return
        version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
        if version < OLDEST_LIBRARY:
            raise StorageError(
                f"SQLite {apsw.sqlite_lib_version()} is too old: it can corrupt a database in WAL mode. "
                "Install a newer apsw."
            )
        apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
        _vfs_loaded = True


def connect(path: str | Path, *, read_only: bool = False, cache_mib: int = 16) -> apsw.Connection:
    """A connection with our settings. Raises StorageError or StoreCorrupt with what to do."""
    load_checksum_vfs()
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        if not read_only:
            _create(path)
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        _refuse_foreign(connection)
        if not read_only:
            connection.reserve_bytes(reserve=CHECKSUM_BYTES)
        connection.execute(f"pragma cache_size = -{cache_mib * 1024}")
        connection.execute("pragma temp_store = memory")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute("pragma foreign_keys = off")
        if not read_only:
            connection.execute("pragma journal_mode = wal")
        return connection
    except apsw.Error as error:
        raise explain(error, path) from error


def _create(path: str | Path) -> None:
    """Make a new database file for its owner alone; the WAL and the shared memory take its mode.

    An existing file is not opened: closing it again would drop SQLite's locks on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return  # it exists, or SQLite will say why it cannot be


def _refuse_foreign(connection: apsw.Connection) -> None:
    """Raise SchemaUnknown for another program's database, before anything of it is changed."""
    ((tables,),) = connection.execute("select count(*) from sqlite_schema")
    ((application_id,),) = connection.execute("pragma application_id")
    if tables and application_id != APPLICATION_ID:
        raise SchemaUnknown("The file is an SQLite database of another program. Name another file or folder.")


def is_half_moved(connection: apsw.Connection) -> bool:
    """Whether a move into this database has begun and not ended."""
    found = connection.execute("select 1 from sqlite_schema where name = ?", (migrations.MOVING,))
    return any(True for _ in found)


def refuse_half_moved(connection: apsw.Connection) -> None:
    """Raise SchemaUnknown for a database that is not all there yet."""
    if is_half_moved(connection):
        raise migrations.half_moved()


def migrate(connection: apsw.Connection, now: int) -> list[str]:
    """Bring the schema up to date, whole or not at all; answers the names of the migrations applied.

    Raises SchemaUnknown for a database that a newer Narrows wrote, StorageError or StoreCorrupt.
    """
    try:
        return _migrate(connection, now)
    except apsw.Error as error:
        raise explain(error) from error


def _migrate(connection: apsw.Connection, now: int) -> list[str]:
    todo: tuple[migrations.Migration, ...] = ()
    with connection:
        ((tables,),) = connection.execute("select count(*) from sqlite_schema")
        if not tables:
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
            connection.execute(
                "create table schema_migrations (number integer primary key, name text not null,"
                " checksum text not null, applied_at integer not null)"
            )
        applied = list(connection.execute("select number, checksum from schema_migrations"))
        todo = migrations.pending(applied)
        for migration in todo:
            connection.execute(migration.sql)
            connection.execute(
                "insert into schema_migrations values (?, ?, ?, ?)",
                (migration.number, migration.name, migration.checksum, now),
            )
    return [migration.name for migration in todo]


class SqliteConnection:
    """A connection as writer and reads see it. Its coroutines never suspend."""

    writer_name = "local"

    def __init__(self, connection: apsw.Connection, clock: Clock) -> None:
        self.raw = connection
        self._clock = clock
        self._statements = for_sqlite()
        self._loads: dict[tuple[str, ...], str] = {}

    @property
    def now(self) -> int:
        return self._clock.now()

    async def rows(self, statement: str, **parameters: Any) -> list[Row]:
        try:
            return list(self.raw.execute(self._statements[statement], parameters))
        except apsw.Error as error:
            raise explain(error) from error

    async def load(self, statement: str, rows: list[Row]) -> list[Row]:
        return (await self.load_all({statement: rows}))[statement]

    async def load_all(self, wanted: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """All of them by one statement with one row: a driver gives up Python's lock at every step, and
        beside a busy event loop each costs the time until it has it again."""
        names = tuple(wanted)
        try:
            sql = self._loads.get(names) or self._as_one_row(names)
            texts = {f"input_{number}": _encode(wanted[name]).decode() for number, name in enumerate(names)}
            cursor = self.raw.execute(sql, texts)
            row = next(cursor)
            cursor.close()
        except apsw.Error as error:
            raise explain(error) from error
        return {name: _decode_rows(text) for name, text in zip(names, row, strict=True)}

    def _as_one_row(self, names: tuple[str, ...]) -> str:
        """A column for each statement: its rows as one JSON text."""
        if len(self._loads) >= MAX_LOADS:
            self._loads.clear()
        columns = ", ".join(self._as_column(number, name) for number, name in enumerate(names))
        sql = self._loads[names] = f"select {columns}"
        return sql

    def _as_column(self, number: int, name: str) -> str:
        body = self._statements[name]
        description = apsw.ext.query_info(self.raw, body).description
        columns = ", ".join(column[0] for column in description)
        body = body.replace(":input", f":input_{number}")
        return f"(select json_group_array(json_array({columns})) from ({body}))"

    async def lock(self, touches: Sequence[Touch]) -> None:
        """Nobody else writes."""

    async def begin(self, touches: Sequence[Touch]) -> None:
        """One process writes, and has one writer: its transaction is all the lock there is."""
        await self.rollback()  # where the disk refused even that the last time
        self._run("begin immediate")

    async def write(self, writes: Sequence[Write]) -> list[int]:
        return [self._write(each) for each in writes]

    def _write(self, write: Write) -> int:
        self._run(self._statements[write.statement], {"input": _encode(write.rows).decode()})
        return self.raw.changes()

    async def commit(self) -> None:
        self._run("commit")

    def forget(self) -> None:
        """Here one lock is all there is."""

    async def rollback(self) -> None:
        if self.raw.in_transaction:
            self._run("rollback")

    def _run(self, sql: str, parameters: dict[str, str] | None = None) -> None:
        try:
            self.raw.execute(sql, parameters)
        except apsw.Error as error:
            raise _failure(error) from error


def _failure(error: apsw.Error) -> BackendFailure:
    """What an SQLite error means for a batch. Only a failed sync leaves the outcome open: the frames
    may be in the file, and only recovery at the next start can tell."""
    clash = isinstance(error, apsw.ConstraintError)
    return BackendFailure(_sentence(error), retry=clash, clash=clash, fatal=is_failed_sync(error))


def is_failed_sync(error: apsw.Error) -> bool:
    return getattr(error, "extendedresult", 0) in (_IOERR_FSYNC, _IOERR_DIR_FSYNC)


def is_corruption(error: apsw.Error) -> bool:
    return (
        isinstance(error, apsw.CorruptError | apsw.NotADBError)
        or getattr(error, "extendedresult", 0) == _IOERR_DATA
    )


def explain(error: apsw.Error, path: str | Path = "") -> NarrowsError:
    """An SQLite error as one of ours, with what to do."""
    if is_corruption(error):
        return StoreCorrupt(
            "The database file does not hold what was written to it. Stop the server, keep the file, "
            f"run `narrows verify`, and restore a backup. ({_sentence(error)})"
        )
    where = f" {path}" if path else ""
    return StorageError(f"The database{where} cannot be used: {_sentence(error)}.")


def _sentence(error: apsw.Error) -> str:
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    return str(error).rstrip(".") or type(error).__name__
