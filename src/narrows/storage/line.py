"""One connection to PostgreSQL, opened when it is needed and again after it was lost.

A watchdog stands behind every call: a half-open socket never answers. What it cuts off is thrown away,
never canceled politely and used again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from narrows.errors import NarrowsError
from narrows.storage.backend import BackendFailure, Row
from narrows.storage.calls import Calls, statements_in
from narrows.storage.statements import encoded, for_postgres

T = TypeVar("T")
Connect = Callable[[], Awaitable[Any]]

#: One call, as the watchdog has it. The server gives up earlier by itself, where it can be told.
CALL_SECS: Final = 15.0
#: How sessions of ours are named; those of a node's store have a number behind it, so that each is one alone.
SESSION: Final = "narrows"


class Line:
    """The connection as all have it who ask the server something. `is_pooled` says whether a pooler may lend
    another server connection for each transaction."""

    def __init__(
        self, connect: Connect, calls: Calls | None = None, is_pooled: Callable[[], bool] = lambda: False
    ) -> None:
        self._connect = connect
        self.is_pooled = is_pooled
        self._calls = calls or Calls()
        self.raw: Any = None
        #: What is begun on one connection goes on there or nowhere: on another one each statement would
        #: be a transaction of its own.
        self.in_transaction = False
        self._left: str | None = None
        self.statements = for_postgres()

    async def open(self) -> Any:
        """The connection. Raises BackendFailure where there is no way to the server."""
        if self.raw is None or self.raw.is_closed():
            if self.in_transaction:
                raise BackendFailure("the connection was lost in the midst of a transaction", retry=True)
            self.drop()
            try:
                self.raw = await self._connect()
            except NarrowsError as error:
                raise BackendFailure(error.message) from error
            await self._end_what_was_left()
        return self.raw

    async def _end_what_was_left(self) -> None:
        """The server may not have noticed that the connection before is gone: its session would keep locks,
        for which the same batch would wait, or because of which a claim would find nothing."""
        left, self._left = self._left, None
        if left is not None:
            with contextlib.suppress(Exception):  # it ends by itself, only later
                await self.guarded(self.raw.fetch(self.statements["end_session"].sql, left))

    def drop(self) -> None:
        """Throw the connection away: whatever it was doing, nobody hears of it any more."""
        if self.raw is not None:
            name = self.raw.get_settings().application_name
            self._left = name if name.startswith(f"{SESSION} ") else None
            self.raw.terminate()
            self.raw = None

    async def close(self) -> None:
        """End the connection in order."""
        if self.raw is not None:
            raw, self.raw = self.raw, None
            try:
                await raw.close(timeout=2)
            except Exception:  # noqa: BLE001 - it was lost already
                raw.terminate()

    async def guarded(
        self, call: Coroutine[Any, Any, T], secs: float | None = None, statements: int = 1
    ) -> T:
        """The outcome of a call; after `secs` the connection is gone, and so the call fails."""
        self._calls.count(statements)
        watchdog = asyncio.get_running_loop().call_later(CALL_SECS if secs is None else secs, self.drop)
        try:
            return await call
        finally:
            watchdog.cancel()

    async def run(self, sql: str, secs: float | None = None) -> None:
        """Statements without parameters, one after the other, in one trip."""
        await self.guarded((await self.open()).execute(sql), secs, statements_in(sql))

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        raw = await self.open()
        if self.is_pooled() and not raw.is_in_transaction():
            found: list[Any] = await self.guarded(_in_transaction(raw, sql, arguments), statements=3)
        else:
            found = await self.guarded(raw.fetch(sql, *arguments))
        return found

    @contextlib.asynccontextmanager
    async def transaction(self, begin: str, secs: float | None = None) -> AsyncIterator[None]:
        """All of it, committed at the end, or nothing. To begin it may take `secs`."""
        await self.run(begin, secs)
        self.in_transaction = True
        try:
            yield
            await self.run("commit")
        except BaseException:
            self.drop()
            raise
        finally:
            self.in_transaction = False

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
        known = self.statements[statement]
        found = await self.fetch(known.sql, *(parameters[name] for name in known.parameters))
        return list(map(tuple, found))

    async def load(self, statement: str, rows: list[Row]) -> list[Row]:
        known = self.statements[statement]
        if not rows:
            return []
        return list(map(tuple, await self.fetch(known.sql, encoded(rows))))


async def _in_transaction(raw: Any, sql: str, arguments: Sequence[Any]) -> list[Any]:
    """A statement and its parameters are two messages, which a pooler might hand to two servers."""
    async with raw.transaction():
        found: list[Any] = await raw.fetch(sql, *arguments)
        return found
