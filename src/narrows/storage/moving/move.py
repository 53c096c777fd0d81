"""The way a move goes: copy table by table in chunks, compare both sides by counts and checksums over all
rows, let `narrows verify` look at the target. How far it is stands in the target, changed with each chunk in
one transaction; so a move that was killed anywhere goes on at the next start, and what is half moved
is served by nobody. Not here: how a database is read, written and kept from servers (the two sides).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from narrows.errors import StorageError
from narrows.storage.moving.tables import Chunk, Table, tables

#: (what is being done, rows done, rows in all)
Report = Callable[[str, int, int], None]
#: The name under which the target remembers where it comes from; the others are names of tables.
ORIGIN = ""
EMPTY_IT = "Make the target empty (drop and create the database, or delete the file) and move again."


class Side(Protocol):
    """One of the two databases, kept from servers as long as it is open."""

    name: str

    async def newest_stamp(self) -> int | None: ...
    async def count(self, table: Table) -> int: ...
    def chunks(self, table: Table, after: list[Any] | None) -> AsyncGenerator[Chunk, None]:
        """Rows in the order of the key, those after `after`."""

    async def refuse_servers(self) -> None:
        """Raise StorageError if somebody has come to serve it all the same."""


class Target(Side, Protocol):
    async def progress(self) -> dict[str, str] | None:
        """What is remembered of a move that has not ended; None where none has begun."""

    async def begin(self, origin: str) -> None: ...
    async def write(self, table: Table, chunk: Chunk, progress: str) -> None:
        """The rows and how far the move is with them, both or neither."""

    async def faults(self) -> list[str]:
        """What `narrows verify` finds."""

    async def finish(self) -> None:
        """From now on it may be served."""


class Progress(msgspec.Struct, frozen=True):
    """How far a table is: its last key that was copied."""

    after: list[Any] | None = None
    rows: int = 0


class Checksum(NamedTuple):
    rows: int
    digest: str


class Moved(NamedTuple):
    rows: int
    tables: int
    #: What `narrows verify` finds in the copy, which the source has too since they are equal.
    faults: list[str]


class Move:
    """One run of it."""

    def __init__(self, source: Side, target: Target, report: Report) -> None:
        self._source = source
        self._target = target
        self._report = report
        self._counts: dict[str, int] = {}
        self._progress: dict[str, str] = {}
        #: Of tables that were copied from their first row on by this run: they need not be read again.
        self._copied: dict[str, Checksum] = {}

    async def run(self) -> Moved:
        """Raises StorageError where the target holds something else, the source has changed since the
        move began, or the copy is not equal to its source."""
        await self._begin()
        for table in tables():
            await self._copy(table)
        for table in tables():
            await self._compare(table)
        await self._source.refuse_servers()
        await self._target.refuse_servers()
        self._report("verifying", 0, 0)
        faults = await self._target.faults()
        await self._target.finish()
        return Moved(sum(self._counts.values()), len(self._counts), faults)

    async def _begin(self) -> None:
        self._report("counting", 0, 0)
        self._counts = {table.name: await self._source.count(table) for table in tables()}
        origin = _text({"stamp": await self._source.newest_stamp(), "rows": self._counts})
        progress = await self._target.progress()
        if progress is None:
            await self._refuse_other_contents()
            await self._target.begin(origin)
        elif progress.pop(ORIGIN) != origin:
            raise StorageError(
                f"{self._target.name} holds the beginning of a move, but {self._source.name} has changed since, or"
                f" it came from elsewhere. {EMPTY_IT}"
            )
        else:
            self._progress = progress

    async def _refuse_other_contents(self) -> None:
        for table in tables():
            if rows := await self._target.count(table):
                raise StorageError(
                    f"{self._target.name} holds something already ({rows} rows in {table.name}), and nothing is"
                    " mixed. Name an empty database; nothing was copied."
                )

    async def _copy(self, table: Table) -> None:
        """Copy what is not there yet; the next chunk is read while one is written."""
        known = self._progress.get(table.name)
        begun = msgspec.json.decode(known, type=Progress) if known else Progress()
        rows, digest = begun.rows, hashlib.sha256()
        async with contextlib.aclosing(_ahead(self._source.chunks(table, begun.after))) as chunks:
            async for chunk in chunks:
                rows += len(chunk.rows)
                digest.update(chunk.text)
                await self._target.write(table, chunk, _text(Progress(table.key_of(chunk.rows[-1]), rows)))
                self._report(f"copying {table.name}", rows, self._counts[table.name])
        if begun.after is None:
            self._copied[table.name] = Checksum(rows, digest.hexdigest())

    async def _compare(self, table: Table) -> None:
        def report(rows: int) -> None:
            self._report(f"checking {table.name}", rows, self._counts[table.name])

        source = self._copied.get(table.name) or await checksum(self._source, table, report)
        target = await checksum(self._target, table, report)
        if source != target:
            raise StorageError(
                f"The copy of {table.name} is not equal to its source: {source.rows} rows with checksum"
                f" {source.digest[:16]} in {self._source.name}, {target.rows} with {target.digest[:16]} in"
                f" {self._target.name}. Somebody wrote to one of them meanwhile, or a disk fails. {EMPTY_IT}"
            )


async def checksum(side: Side, table: Table, report: Callable[[int], None]) -> Checksum:
    """Over all rows in the order of their key, as both kinds of database have it."""
    rows, digest = 0, hashlib.sha256()
    async with contextlib.aclosing(_ahead(side.chunks(table, None))) as chunks:
        async for chunk in chunks:
            rows += len(chunk.rows)
            digest.update(chunk.text)
            report(rows)
    return Checksum(rows, digest.hexdigest())


async def _ahead(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The chunks, of which the next is read while its caller works at one. Whatever happens, nothing is
    being read any more when this ends: a connection serves one at a time."""

    async def read() -> Chunk | None:
        return await anext(chunks, None)

    reading = asyncio.create_task(read())
    try:
        while chunk := await reading:
            reading = asyncio.create_task(read())
            yield chunk
    finally:
        await asyncio.wait([reading])
        await chunks.aclose()


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
