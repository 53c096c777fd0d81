"""Several stores over one database, each with a way of its own to it, and what the server has to say.

Not here: the faults of the way, which are the proxy's (`tests/postgres/proxy.py`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from narrows.storage.calls import WRITERS, Calls
from narrows.storage.connecting import Access
from narrows.storage.postgres_store import PostgresStore
from narrows.testing import ManualClock
from tests.postgres.session import Row, Session
from tests.storage.kit import Bench, PostgresBackend, opened

#: Whatever is waited for comes soon, or never.
PATIENCE_SECS = 20.0
#: Of a batch: begin with the locks of names, look or lock rows, write, commit.
USUAL_TRIPS = 4
#: Of one that only settles what belongs to no run: look, and all the rest in one statement.
SINGLE_TRIPS = 2
_HELD = 42
_seeds = itertools.count(1)


class Way(PostgresBackend):
    """One store's way to the database of a test: through a proxy, behind a pooler."""

    def __init__(self, database: PostgresBackend, url: str | None = None, **access: Any) -> None:
        self.url = database.url
        self._access = Access(url or database.url, **access)

    async def store(self, clock: ManualClock, **options: Any) -> PostgresStore:
        store = PostgresStore(self._access, clock, **options)
        await store.open()
        return store


def node(
    database: PostgresBackend, url: str | None = None, **access: Any
) -> AbstractAsyncContextManager[Bench]:
    """One of several stores. Time is the database's, as in production; each has random numbers of its own."""
    return opened(Way(database, url, **access), ManualClock(seed=next(_seeds)))


def sql(database: PostgresBackend, statement: str) -> list[Row]:
    """What the server answers, past every store."""
    with Session(database.url) as session:
        return session.run(statement)


class Elsewhere(PostgresBackend):
    """A database that is not one of the shared server's."""

    def __init__(self, url: str) -> None:
        self.url = url


async def until(is_so: Callable[[], Any], what: str = "it", patience_secs: float = PATIENCE_SECS) -> Any:
    """Wait until it is so; answers what it answered."""
    async with asyncio.timeout(patience_secs):
        while not (found := is_so()):
            await asyncio.sleep(0.005)
    return found


async def eventually(ask: Callable[[], Awaitable[Any]], *errors: type[Exception]) -> Any:
    """The first answer that is none of these errors."""
    async with asyncio.timeout(PATIENCE_SECS):
        while True:
            try:
                return await ask()
            except errors:
                await asyncio.sleep(0.005)


async def trips(bench: Bench, ask: Callable[[], Awaitable[Any]]) -> int:
    """How many round trips the writers make for it."""
    calls: Calls = bench.store.calls[WRITERS]
    before = calls.round_trips
    await ask()
    return calls.round_trips - before


def waiting_for_locks(database: PostgresBackend) -> int:
    """How many sessions wait for another one's lock."""
    ((found,),) = sql(
        database,
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    return int(found or 0)


def end_sessions(database: PostgresBackend, having: str = "application_name like 'narrows%'") -> int:
    """End the sessions of the stores, as an administrator or a fallen server does; how many."""
    found = sql(
        database,
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
        f" and pid <> pg_backend_pid() and {having}",
    )
    return len(found)


class Points:
    """Stops a store's writer at steps of its commit, from within the event loop."""

    def __init__(self, bench: Bench) -> None:
        self.seen: list[str] = []
        self._at: dict[str, Callable[[], Awaitable[None]]] = {}
        bench.store.writer.failpoint = self

    def __call__(self, step: str) -> Awaitable[None] | None:
        self.seen.append(step)
        at = self._at.pop(step, None)
        return None if at is None else at()

    def at(self, step: str, do: Callable[[], Awaitable[None]]) -> None:
        """Do this the next time that the step is reached, before it."""
        self._at[step] = do

    @contextmanager
    def holding(self, step: str) -> Iterator[asyncio.Event]:
        """Hold the writer at the step while the context lasts; the event says that it got there."""
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            reached.set()
            await go_on.wait()

        self.at(step, hold)
        try:
            yield reached
        finally:
            go_on.set()


@contextmanager
def holding_writes(database: PostgresBackend) -> Iterator[None]:
    """Hold every batch at the end of its writes while the context lasts, with the locks that they have taken: also one
    that is a single statement. It waits for a lock there (`waiting_for_locks`)."""
    with Session(database.url) as holder:
        holder.run(
            "create or replace function held() returns trigger language plpgsql as"
            f" $$ begin perform pg_advisory_xact_lock_shared({_HELD}); return new; end $$"
        )
        holder.run(
            "create or replace trigger held before insert on batches for each row execute function held()"
        )
        holder.run(f"select pg_advisory_lock({_HELD})")
        yield
