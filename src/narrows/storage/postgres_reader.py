"""A connection to PostgreSQL as readers see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narrows.errors import NarrowsError, StorageError, Unavailable
from narrows.storage.backend import BackendFailure, Row
from narrows.storage.connecting import SET_LOCAL
from narrows.storage.line import Line
from narrows.storage.postgres_errors import LOST, explain


class PostgresReader:
    """A connection that reads. Each read is one transaction, which a pooler keeps on one server."""

    def __init__(self, line: Line, now: Callable[[], int]) -> None:
        self.line = line
        self._now = now

    @property
    def now(self) -> int:
        return self._now()

    async def rows(self, statement: str, **parameters: Any) -> list[Row]:
        try:
            return await self.line.rows(statement, parameters)
        except Exception as error:
            raise explain(error) from error

    async def load(self, statement: str, rows: list[Row]) -> list[Row]:
        try:
            return await self.line.load(statement, rows)
        except Exception as error:
            raise explain(error) from error

    async def perform(self, read: Any) -> Any:
        """Run a read. What goes wrong on the way leaves no connection behind that could be in the midst of
        something."""
        try:
            if self.line.is_pooled():
                return await self._perform_in_transaction(read)
            await self.line.open()
            return await read.run(self)
        except (NarrowsError, BackendFailure) as error:
            if isinstance(error, StorageError | Unavailable | BackendFailure):
                self.line.drop()
            raise
        except BaseException:
            self.line.drop()
            raise

    async def _perform_in_transaction(self, read: Any) -> Any:
        try:
            await self.line.run(f"begin read only; {SET_LOCAL}")
            try:
                return await read.run(self)
            finally:
                if self.line.raw is not None:
                    await self.line.run("rollback")
        except LOST as error:
            raise explain(error) from error
