"""PostgreSQL as one side of a move. Nodes join under an advisory lock; whoever moves holds it, so that none
can join, after a look whether one is there. The source is read in one snapshot, which changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg

from narrows.errors import SchemaUnknown, StorageError
from narrows.storage import postgres_schema, postgres_verify
from narrows.storage.connecting import using
from narrows.storage.line import Line
from narrows.storage.membership import LEASE_US
from narrows.storage.moving.move import EMPTY_IT
from narrows.storage.moving.tables import Chunk, Gathering, Table, tables

T = TypeVar("T")

#: Counting or sorting a large table takes its time; a server that is gone is noticed all the same.
CALL_SECS = 3_600.0
_SETTINGS = (
    "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set lock_timeout = 5000;"
    " set jit = off"
)
#: What the nodes' `lock_nodes` locks, for as long as this connection lives.
_KEEP_NODES_OUT = "select pg_advisory_lock(7021806481350104693)"
_SECRET_KEY = "secret key"  # noqa: S105 - what fingerprints in `installation` are of


@contextlib.asynccontextmanager
async def source(url: str, name: str, fingerprints: Sequence[str]) -> AsyncIterator[Shared]:
    """The database to copy, while no node serves it. `fingerprints` are of the keys that are at the target
    already: others than the nodes' could not read what is copied.

    Raises StorageError, SchemaUnknown.
    """
    async with using(url) as line:
        side = await _opened(line, name)
        await postgres_schema.check_server(line)
        if await postgres_schema.pending(line):
            raise SchemaUnknown(
                f"{name} is empty or of an older version. Run `narrows migrate` with it first."
            )
        await side.refuse_servers()
        await postgres_schema.refuse_half_moved(line)
        known = {row[0] for row in await line.fetch(line.statements["installed"].sql, _SECRET_KEY)}
        if fingerprints and known and not known.intersection(fingerprints):
            raise StorageError(
                "The secret key beside the target is not the one of the nodes. Put their secret.key there, or set"
                " NARROWS_SECRET_KEY to their key."
            )
        await side.take_snapshot()
        yield side


@contextlib.asynccontextmanager
async def target(url: str, name: str, fingerprints: Sequence[str]) -> AsyncIterator[Shared]:
    """The database to fill; its schema is made where it is not there. `fingerprints` are of the keys that
    the source's secrets are encrypted under. Raises as `source` does."""
    async with using(url) as line:
        side = await _opened(line, name)
        await postgres_schema.check_server(line)
        missing = await postgres_schema.pending(line)
        if len(missing) < len(postgres_schema.all_migrations()):
            await side.refuse_servers()
            if missing and await side.progress() is None:
                raise StorageError(f"{name} is a store of an older version. Name an empty database.")
        await postgres_schema.migrate(line)
        side.fingerprints = tuple(fingerprints)
        yield side


async def _opened(line: Line, name: str) -> Shared:
    side = Shared(await line.open(), line, name)
    await line.run(_SETTINGS)
    try:
        await line.run(_KEEP_NODES_OUT)
    except asyncpg.LockNotAvailableError:
        raise StorageError(
            f"Another `narrows move` works on {name}, or nodes are starting. Wait until it has ended."
        ) from None
    return side


class Shared:
    """An open PostgreSQL database, as `move.Side` and `move.Target` want it."""

    def __init__(self, raw: Any, line: Line, name: str) -> None:
        self.name = name
        self.fingerprints: tuple[str, ...] = ()
        # This one connection: another would not have the lock.
        self._raw = raw
        self._line = line
        self._snapshot: Any = None
        self._traces: Any = None

    async def _do(self, call: Coroutine[Any, Any, T]) -> T:
        return await self._line.guarded(call, CALL_SECS)

    async def take_snapshot(self) -> None:
        """From now on everything is read as it is at this moment."""
        self._snapshot = self._raw.transaction(isolation="repeatable_read", readonly=True)
        await self._snapshot.start()
        self._traces = await self._traces_of_nodes()

    async def newest_stamp(self) -> int | None:
        stamp = await self._do(self._raw.fetchval(self._line.statements["last_stamp"].sql))
        return None if stamp is None else int(stamp)

    async def count(self, table: Table) -> int:
        return int(await self._do(self._raw.fetchval(table.counting)))

    async def chunks(self, table: Table, after: list[Any] | None) -> AsyncGenerator[Chunk, None]:
        sql = table.reading("$", is_begun=after is not None)
        async with self._raw.transaction():
            cursor = await self._raw.cursor(sql, *(after or ()))
            while (chunk := await self._next_chunk(cursor)).rows:
                yield chunk

    async def _next_chunk(self, cursor: Any) -> Chunk:
        """As many rows as one transaction takes."""
        gathering = Gathering()
        while (wanted := gathering.wanted) and (piece := await self._do(cursor.fetch(wanted))):
            gathering.add(list(map(tuple, piece)))
        return gathering.chunk()

    async def refuse_servers(self) -> None:
        """A node that was stopped for a while may come back without joining anew, and also leave again."""
        if self._snapshot is not None:
            await self._snapshot.rollback()  # it would not see them
            self._snapshot = None
        statements = self._line.statements
        now = await self._do(self._raw.fetchval(statements["time_now"].sql))
        found = await self._do(self._raw.fetch(statements["nodes"].sql))
        living = [row["name"] for row in found if row["seen_at"] >= now - LEASE_US]
        if living:
            raise StorageError(
                f"{self.name} is served by {len(living)} node{'s' if len(living) > 1 else ''}"
                f" ({', '.join(sorted(set(living)))}). Stop them first, wait {LEASE_US // 1_000_000} seconds, and run"
                " the same command again."
            )
        if self._traces is not None and self._traces != await self._traces_of_nodes():
            raise StorageError(
                f"A node served {self.name} while it was copied, and has left since: what it committed is not in"
                f" the copy. Keep all nodes stopped. {EMPTY_IT}"
            )

    async def _traces_of_nodes(self) -> Any:
        """What differs after a node was here: it renews its place and gives it back, and leaves each of its commits."""
        statements = self._line.statements
        nodes = await self._do(self._raw.fetch(statements["nodes"].sql))
        return nodes, await self._do(self._raw.fetch(statements["batches_so_far"].sql))

    async def progress(self) -> dict[str, str] | None:
        if not await postgres_schema.is_half_moved(self._line):
            return None
        return dict(map(tuple, await self._do(self._raw.fetch("select name, value from moving"))))

    async def begin(self, origin: str) -> None:
        async with self._raw.transaction():
            await self._raw.execute("create table moving (name text primary key, value text not null)")
            await self._remember("", origin)
            # The database was empty: whatever key a node tried it with, from now on it is the source's.
            await self._raw.execute("delete from installation where name = $1", _SECRET_KEY)
            for each in self.fingerprints:
                await self._raw.execute(self._line.statements["install"].sql, _SECRET_KEY, each)

    async def write(self, table: Table, chunk: Chunk, progress: str) -> None:
        async with self._raw.transaction():
            await self._do(
                self._raw.copy_records_to_table(table.name, records=chunk.rows, columns=table.columns)
            )
            await self._remember(table.name, progress)

    async def _remember(self, name: str, value: str) -> None:
        await self._raw.execute(
            "insert into moving values ($1, $2) on conflict (name) do update set value = excluded.value",
            name,
            value,
        )

    async def faults(self) -> list[str]:
        # Without statistics the checks would be planned for empty tables.
        await self._do(self._raw.execute("analyze " + ", ".join(table.name for table in tables())))
        return await postgres_verify.verify(self._line)

    async def finish(self) -> None:
        await self._raw.execute("drop table moving")
