"""The embedded store: operations go in, outcomes come out; reads run beside. One writer thread, a few reader
threads and a checkpointer thread over one SQLite database. What faces the event loop is in `front.py`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from narrows.clock import Clock
from narrows.errors import Unavailable
from narrows.storage import sqlite
from narrows.storage.backend import run_now
from narrows.storage.checkpoint import Checkpointer
from narrows.storage.committed import Committed
from narrows.storage.front import Front, Read
from narrows.storage.transaction import Limits
from narrows.storage.writer import Outcome, Result, Writer, unknown

log = logging.getLogger("narrows.storage")
T = TypeVar("T")

READERS = 3


class Store(Front):
    """An open SQLite store. `on_commit` is called in the event loop's thread with every commit,
    `on_fatal` when the process must end because the outcome of a commit cannot be known."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        limits: Limits | None = None,
        max_queue: int = 20_000,
        max_batch: int = 256,
        cache_mib: int = 32,
        on_commit: Callable[[Committed], None] = lambda committed: None,
        on_fatal: Callable[[str], None] = lambda reason: None,
        failpoint: Callable[[str], None] = lambda step: None,
    ) -> None:
        self.path = path
        self.clock = clock
        super().__init__(on_commit)
        self._on_fatal = on_fatal
        raw = sqlite.connect(path, cache_mib=cache_mib)
        sqlite.refuse_half_moved(raw)
        self.applied_migrations = sqlite.migrate(raw, clock.now())
        self.connection = sqlite.SqliteConnection(raw, clock)
        self.writer = Writer(
            clock,
            limits or Limits(),
            max_queue=max_queue,
            max_batch=max_batch,
            last_stamp=_last_stamp(self.connection),
            failpoint=failpoint,
        )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="narrows-reader")
        self._local = threading.local()
        self._reader_connections: list[sqlite.SqliteConnection] = []
        self._checkpointer = Checkpointer(path, self._fail)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the writer's and the checkpointer's threads; the running loop gets the outcomes."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="narrows-writer", daemon=True)
        self._thread.start()
        self._checkpointer.start()

    async def read(self, read: Read[T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._run_read, read)

    def _run_read(self, read: Read[T]) -> T:
        connection: sqlite.SqliteConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite.SqliteConnection(sqlite.connect(self.path, read_only=True), self.clock)
            self._local.connection = connection
            self._reader_connections.append(connection)
        return run_now(read.run(connection))

    def _write(self) -> None:
        """The writer's thread: it owns its connection and never waits for the event loop."""
        assert self._loop is not None
        while (batch := self.writer.take()) is not None:
            try:
                results = run_now(self.writer.execute(self.connection, batch))
            except BaseException as failure:  # noqa: BLE001 - whatever it is: nobody may wait for ever
                self._loop.call_soon_threadsafe(self._answer, batch, [unknown(batch)])
                self._fail(
                    f"The outcome of a commit cannot be known: {failure}. The server has to start again."
                )
                return
            self._loop.call_soon_threadsafe(self._answer, batch, results)
            self._checkpointer.committed(self.connection.raw)

    def _fail(self, reason: str) -> None:
        """From any thread: nothing is written any more, and what is queued was not done."""
        assert self._loop is not None
        if self.failure is not None:
            return
        self.failure = reason
        log.critical(reason)
        self.writer.close()
        while refused := self.writer.take_now():
            error = Unavailable(reason, retry_after_secs=5)
            result = Result([Outcome(error=error) for _ in refused], None)
            self._loop.call_soon_threadsafe(self._answer, refused, [result])
        self._loop.call_soon_threadsafe(self._on_fatal, reason)

    async def close(self) -> None:
        """Finish what is queued, then close everything."""
        self._hand_over()
        self.writer.close()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        await asyncio.get_running_loop().run_in_executor(None, self._checkpointer.stop)
        self._readers.shutdown()
        for connection in self._reader_connections:
            connection.raw.close()
        self.connection.raw.close()


def _last_stamp(connection: sqlite.SqliteConnection) -> int:
    """The newest stamp in the store: a clock that stepped back before a restart must not go below."""
    rows = run_now(connection.rows("last_stamp"))
    return rows[0][0] or 0
