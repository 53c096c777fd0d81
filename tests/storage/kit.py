"""What the tests of storage and operations stand on: a backend to open stores of, and a bench that
performs operations on one, alone or several in one commit.

A backend is one more class here and one more entry of `BACKENDS`; every test of the conformance
suite then runs on it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

from narrows.core.records import Trigger, UnmatchedEvent
from narrows.engine.feed import Feed
from narrows.operations.access import CreateProject
from narrows.operations.base import DEV, TriggerOutcome
from narrows.operations.events import BatchEvent, SendBatch, SendEvent
from narrows.operations.reads import GetStats, GetTrigger, GetTriggerById, ListTriggers
from narrows.operations.retention import (
    Pruned,
    PruneRows,
    PruneRuns,
    PruneTriggers,
    PruneWorkflowRuns,
)
from narrows.operations.service import Service
from narrows.operations.triggers import CancelTrigger, ExpireTriggers, OpenTrigger
from narrows.storage.committed import Committed
from narrows.storage.connecting import Access
from narrows.storage.postgres_store import PostgresStore
from narrows.storage.store import READERS, Store
from narrows.storage.verify import verify
from narrows.testing import ManualClock
from tests.storage.databases import borrow, give_back

PROJECT = "default"


class Backend(Protocol):
    """What the conformance suite needs to know of a database."""

    async def store(self, clock: ManualClock, **options: Any) -> Any:
        """A store over the one database of this test; made where it is not there yet."""

    def gate(self) -> Gate:
        """What holds this store's writer."""

    def writing(self, store: Any) -> Any:
        """The connection of its writer."""

    async def open_transactions(self, store: Any) -> int:
        """How many of its connections are in the midst of one, once nobody uses any."""

    def faults(self) -> list[str]:
        """What `narrows verify` finds in it."""

    def close(self) -> None:
        """The test is over."""


class SqliteBackend:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "narrows.db"

    async def store(self, clock: ManualClock, **options: Any) -> Store:
        return Store(self.path, clock, **options)

    def gate(self) -> Gate:
        return Gate()

    def writing(self, store: Store) -> Any:
        return store.connection

    async def open_transactions(self, store: Store) -> int:
        # Asked in the readers' own threads, all at once: a connection belongs to the thread that uses it.
        together = threading.Barrier(READERS)

        def is_open() -> bool:
            together.wait()
            connection = getattr(store._local, "connection", None)
            return connection is not None and connection.raw.in_transaction

        asked = (asyncio.get_running_loop().run_in_executor(store._readers, is_open) for _ in range(READERS))
        return sum(await asyncio.gather(*asked)) + store.connection.raw.in_transaction

    def faults(self) -> list[str]:
        return verify(self.path) if self.path.exists() else []

    def close(self) -> None:
        return


class PostgresBackend:
    """A database of its own on the server that this process's tests share. Time is the test's."""

    def __init__(self, folder: Path) -> None:
        self.database = borrow()
        self.url = self.database.url

    async def store(self, clock: ManualClock, **options: Any) -> PostgresStore:
        store = PostgresStore(Access(self.url), clock, database_time=False, **options)
        await store.open()
        return store

    def gate(self) -> Gate:
        return SuspendingGate()

    def writing(self, store: PostgresStore) -> Any:
        (connection,) = store._connections
        return connection

    async def open_transactions(self, store: PostgresStore) -> int:
        while store._reads:
            await asyncio.gather(*store._reads, return_exceptions=True)
        lines = [self.writing(store).line, *(reader.line for reader in store._idle_readers)]
        return sum(line.raw is not None and line.raw.is_in_transaction() for line in lines)

    def faults(self) -> list[str]:
        return self.database.faults()

    def close(self) -> None:
        give_back(self.database)


BACKENDS: dict[str, Callable[[Path], Backend]] = {"sqlite": SqliteBackend, "postgres": PostgresBackend}


class Sink:
    """Remembers what settled nothing."""

    def __init__(self) -> None:
        self.events: list[UnmatchedEvent] = []

    def add(self, event: UnmatchedEvent) -> None:
        self.events.append(event)


class Gate:
    """Holds the writer at a step, so that what is queued meanwhile shares the next commit."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._step = "begin"
        self._opened = threading.Event()
        self._opened.set()
        self._reached = threading.Event()

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if step == self._step:
            self._reached.set()
            self._opened.wait()

    def shut(self, step: str = "begin") -> None:
        self._step = step
        self._reached.clear()
        self._opened.clear()

    async def reached(self) -> None:
        await asyncio.to_thread(self._reached.wait)

    def open(self) -> None:
        self._opened.set()


class SuspendingGate(Gate):
    """The same for a writer that is a task of the event loop."""

    def __call__(self, step: str) -> Any:
        self.steps.append(step)
        if step != self._step:
            return None
        self._reached.set()
        return None if self._opened.is_set() else self._until_open()

    async def _until_open(self) -> None:
        await asyncio.to_thread(self._opened.wait)


class Bench:
    """A store with its service, a clock that is moved by hand, and short words for the operations."""

    def __init__(self, store: Any, clock: ManualClock, gate: Gate, feed: Feed, backend: Backend) -> None:
        self.store = store
        self.backend = backend
        self.clock = clock
        self.gate = gate
        self.feed = feed
        self.sink = Sink()
        self.commits: list[Committed] = []
        feed.subscribe(self._committed)
        self.service = Service(store, feed, clock, self.sink)

    def _committed(self, committed: Committed) -> None:
        """What this store committed: what others may have (a look at the tables) is not in it."""
        if committed.elsewhere is None:
            self.commits.append(committed)

    def entropy(self) -> int:
        return int.from_bytes(self.clock.random_bytes(8), "big")

    @property
    def writing(self) -> Any:
        """The writer's connection."""
        return self.backend.writing(self.store)

    async def perform(self, operation: Any) -> Any:
        return await self.store.perform(operation)

    async def prune(self, what: PruneTriggers | PruneRuns | PruneWorkflowRuns | PruneRows) -> int:
        """How many rows one commit of retention deletes."""
        pruned: Pruned = await self.service.prune(what)
        return pruned.deleted

    async def together(self, *operations: Any) -> list[Any]:
        """What the operations come to in one commit; a refusal stands in its place."""
        self.gate.shut()
        plug = asyncio.create_task(self.project(exist_ok=True))
        try:
            await self.gate.reached()
            tasks = [asyncio.create_task(self.store.perform(operation)) for operation in operations]
            await asyncio.sleep(0)  # they are performed,
            await asyncio.sleep(0)  # and handed over to the writer
        finally:
            self.gate.open()
        await plug
        return await asyncio.gather(*tasks, return_exceptions=True)

    async def project(self, project_id: str = PROJECT, *, exist_ok: bool = False) -> Any:
        return await self.perform(
            CreateProject(actor=DEV, id=project_id, entropy=self.entropy(), exist_ok=exist_ok)
        )

    # ---- operations, as values -------------------------------------------------------------

    def opening(self, event_key: str, timeout_secs: int = 60, **fields: Any) -> OpenTrigger:
        return OpenTrigger(**self._common(fields), event_key=event_key, timeout_secs=timeout_secs, **fields)

    def sending(self, event_key: str | None, payload: str | None, **fields: Any) -> SendEvent:
        return SendEvent(**self._common(fields), event_key=event_key, payload=payload, **fields)

    def canceling(self, event_key: str | None = None, **fields: Any) -> CancelTrigger:
        return CancelTrigger(**self._common(fields), event_key=event_key, **fields)

    def batch(self, *events: BatchEvent, **fields: Any) -> SendBatch:
        return SendBatch(**self._common(fields), events=events, **fields)

    def expiring(self, *triggers: Trigger) -> ExpireTriggers:
        ids = tuple((trigger.project_id, trigger.id) for trigger in triggers)
        return ExpireTriggers(ids=ids, entropy=self.entropy())

    def _common(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "actor": fields.pop("actor", DEV),
            "project_id": fields.pop("project_id", PROJECT),
            "entropy": self.entropy(),
        }

    # ---- operations, performed -------------------------------------------------------------

    async def open(self, event_key: str, timeout_secs: int = 60, **fields: Any) -> Trigger:
        outcome: TriggerOutcome = await self.service.perform(self.opening(event_key, timeout_secs, **fields))
        return outcome.trigger

    async def send(self, event_key: str | None, payload: str | None = "1", **fields: Any) -> Any:
        return await self.service.perform(self.sending(event_key, payload, **fields))

    # ---- reads -----------------------------------------------------------------------------

    async def get(self, event_key: str, project_id: str = PROJECT) -> Trigger:
        found: Trigger = await self.store.read(GetTrigger(project_id=project_id, event_key=event_key))
        return found

    async def get_by_id(self, trigger_id: str, project_id: str = PROJECT) -> Trigger:
        read = GetTriggerById(project_id=project_id, trigger_id=trigger_id)
        found: Trigger = await self.store.read(read)
        return found

    async def listed(self, project_id: str = PROJECT, limit: int = 100) -> list[Trigger]:
        """Every trigger of the project, by its pages."""
        triggers: list[Trigger] = []
        cursor = None
        while True:
            page = await self.store.read(ListTriggers(project_id=project_id, limit=limit, cursor=cursor))
            triggers += page.items
            if not page.has_more:
                return triggers
            cursor = page.next_cursor

    async def stats(self, project_id: str = PROJECT) -> Any:
        return await self.store.read(GetStats(project_id=project_id))

    async def rows(self, statement: str, *keys: tuple[str, ...]) -> list[Any]:
        """The rows of a lookup, past every operation and read."""

        class Load:
            async def run(self, reader: Any) -> list[Any]:
                rows: list[Any] = await reader.load(statement, list(keys))
                return rows

        found: list[Any] = await self.store.read(Load())
        return found


@contextlib.asynccontextmanager
async def opened(
    backend: Backend, clock: ManualClock | None = None, *, project: bool = True, **options: Any
) -> AsyncIterator[Bench]:
    """A bench over the test's database, with the project `default`."""
    clock = clock or ManualClock()
    gate, feed = backend.gate(), Feed()
    store = await backend.store(clock, on_commit=feed.publish, failpoint=gate, **options)
    store.start()
    bench = Bench(store, clock, gate, feed, backend)
    try:
        if project:
            await bench.project(exist_ok=True)
        yield bench
    finally:
        gate.open()
        await bench.service.close()
        await store.close()
