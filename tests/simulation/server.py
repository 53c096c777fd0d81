"""One life of the server, from its start to its crash: the real writer, service, feed and roles over a
database in memory that outlives it. The store has no threads: each batch is one event of the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import apsw

from narrows.engine.endpoint import Endpoints as EndpointCalls
from narrows.engine.feed import Feed
from narrows.engine.loop import Engine
from narrows.engine.roles import Outgoing, all_roles
from narrows.engine.unmatched import UnmatchedBuffer
from narrows.errors import Unavailable
from narrows.operations.service import Service
from narrows.storage import sqlite
from narrows.storage.backend import BackendFailure, run_now
from narrows.storage.front import hand_over
from narrows.storage.queued import Ticket
from narrows.storage.transaction import Limits
from narrows.storage.writer import Result
from tests.simulation.ledger import CameDue, Ledger, LedgerWriter
from tests.simulation.values import HELD_PER_KEY, HELD_PER_PROJECT
from tests.simulation.virtual import START_US, VirtualClock, VirtualLoop

T = TypeVar("T")

RETENTION_DAYS = 30


class Crash(BaseException):
    """The process dies at this very step."""


class ServerGone(Exception):
    """The client's connection broke: what it asked for may have been done or not."""


@cache
def database() -> sqlite.SqliteConnection:
    """One database per process: emptied for each seed, so that its statements stay prepared."""
    raw = apsw.Connection(":memory:", statementcachesize=2_000)
    sqlite.migrate(raw, 0)
    return sqlite.SqliteConnection(raw, clock=None)  # type: ignore[arg-type] # given per seed


def empty(connection: apsw.Connection) -> None:
    if connection.in_transaction:
        connection.execute("rollback")
    with connection:
        for table in _tables(connection):
            connection.execute(f"delete from {table}")


@cache
def _tables(connection: apsw.Connection) -> tuple[str, ...]:
    names = connection.execute(
        "select name from sqlite_schema where type = 'table' and name not in ('schema_migrations')"
    )
    return tuple(name for (name,) in names)


class InlineStore:
    """`narrows.storage.store.Store` without threads. `executed` is told of every commit at its moment, and
    then of what was not committed; the clients hear of it some time later, unless the server dies first.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        clock: VirtualClock,
        connection: sqlite.SqliteConnection,
        publish: Callable[[Any], None],
        executed: Ledger,
        crash: Callable[[str], None],
        failpoint: Callable[[str], None],
    ) -> None:
        self.dead = False
        self._loop = loop
        self._clock = clock
        self._connection = connection
        self._publish = publish
        self._executed = executed
        self._crash = crash
        self._failpoint = failpoint
        self._turn_pending = False
        self._answers: deque[tuple[Sequence[Ticket], Sequence[Result]]] = deque()
        self.writer = LedgerWriter(
            clock,
            Limits(held_per_key=HELD_PER_KEY, held_per_project=HELD_PER_PROJECT),
            last_stamp=run_now(connection.rows("last_stamp"))[0][0] or 0,
            failpoint=failpoint,
        )
        self.writer.executed = executed

    @property
    def queue_length(self) -> int:
        return self.writer.queue_length

    async def perform(self, operation: Any) -> Any:
        if self.dead:
            raise Unavailable("dead")
        future: asyncio.Future[Any] = self._loop.create_future()
        for _, refusal in self.writer.put([Ticket(operation, operation.touches(), future)]):
            raise refusal
        self._plan_turn()
        return await future

    async def read(self, read: Any) -> Any:
        """Sees what is committed at one moment, which may be long before its answer arrives."""
        if self._loop.rng.random() < 0.3:
            await self._loop.some_time()
        if self.dead:
            raise Unavailable("dead")
        answer = run_now(read.run(self._connection))
        if self._loop.rng.random() < 0.3:
            await self._loop.some_time()
        return answer

    def _plan_turn(self) -> None:
        if not self._turn_pending and self.writer.queue_length:
            self._turn_pending = True
            self._loop.later(self._turn)

    def _turn(self) -> None:
        self._turn_pending = False
        if self.dead or not (batch := self.writer.take_now()):
            return
        try:
            results = run_now(self.writer.execute(self._connection, batch))
            self._tell_of_failures(batch, results)
            self._failpoint("before the answer")
        except Crash as step:
            self._crash(str(step))
            return
        self._answers.append((batch, results))
        self._loop.later(self._answer)
        self._plan_turn()

    def _tell_of_failures(self, batch: Sequence[Ticket], results: Sequence[Result]) -> None:
        tickets = iter(batch)
        for result in results:
            part = list(islice(tickets, len(result.outcomes)))
            if result.committed is None:
                self._executed(part, result, CameDue())

    def _answer(self) -> None:
        """As `Store._answer`: the commits in their order, each to the feed first."""
        if self.dead:
            return
        batch, results = self._answers.popleft()
        tickets = iter(batch)
        for result in results:
            if result.committed is not None:
                hand_over(result.committed)
                self._publish(result.committed)
            for outcome in result.outcomes:
                future = next(tickets).future
                if future is None or future.done():
                    continue
                if outcome.error is not None:
                    future.set_exception(outcome.error)
                else:
                    future.set_result(outcome.value)


class Server:
    """A running server. Everything it holds in memory dies with it."""

    def __init__(
        self,
        loop: VirtualLoop,
        clock: VirtualClock,
        executed: Ledger,
        crash: Callable[[str], None],
        failpoint: Callable[[str], None],
        endpoints: Any,
    ) -> None:
        self._loop = loop
        connection = database()
        connection._clock = clock
        feed, buffer = Feed(), UnmatchedBuffer(capacity=20)
        self.store = InlineStore(loop, clock, connection, feed.publish, executed, crash, failpoint)
        self.service = Service(self.store, feed, clock, buffer)
        outgoing = outgoing_to(endpoints, clock)
        self.engine = Engine(self.service, all_roles(self.service, buffer, RETENTION_DAYS, outgoing))

    def tell_calls(self, name: str, told: list[tuple[int, int]]) -> None:
        """Keep of a role when each of its calls began and was answered."""
        role: Any = next(role for role in self.engine.roles if role.name == name)
        role._service = ToldService(self.service, told)

    async def ask(self, request: Coroutine[Any, Any, T]) -> T:
        """A request of a client, handled in a task of the server's own."""
        task = self._loop.create_task(request)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self.store.dead:
                raise ServerGone from None
            raise

    def die(self) -> None:
        self.store.dead = True
        connection = database().raw
        if connection.in_transaction:
            connection.execute("rollback")


class ToldService:
    """The service, for one of its callers: it keeps when each call began and was answered."""

    def __init__(self, service: Service, told: list[tuple[int, int]]) -> None:
        self._service = service
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    async def perform(self, operation: Any) -> Any:
        return await self._tell(self._service.perform(operation))

    async def read(self, read: Any) -> Any:
        return await self._tell(self._service.read(read))

    async def _tell(self, call: Coroutine[Any, Any, T]) -> T:
        began = self.clock.now()
        try:
            return await call
        finally:
            self._told.append((began, self.clock.now()))


class Tokens:
    """`Keyring` for the tokens of dispatches, with nothing to hide."""

    def run_token(self, project_id: str, run_id: str, dispatch: int) -> str:
        return f"{project_id} {run_id} {dispatch}"


def outgoing_to(caller: Any, clock: Any) -> Outgoing:
    """The real roles, with the simulation's endpoints for a network: few places, so that runs queue."""
    tokens: Any = Tokens()
    calls = EndpointCalls(clock, caller, tokens, lambda *_: {}, bytes.decode)
    return Outgoing(caller, calls, lambda parcel: b"", lambda *_: {}, dispatches=4, dispatches_per_host=3)


class Faults:
    """The fail-point of one life: now and then it kills the process or fails a write."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.enabled = True
        self.failed_at_us: list[int] = []
        self._loop = loop
        self._rng = loop.rng
        self._countdown = self._next()

    def _next(self) -> int:
        return 1 + int(self._rng.expovariate(1 / 220))

    def __call__(self, step: str) -> None:
        if not self.enabled or step == "committed":
            return  # a death right after COMMIT is "before the answer", when the ledger knows of it
        self._countdown -= 1
        if self._countdown > 0:
            return
        self._countdown = self._next()
        kind = self._rng.random()
        if kind < 0.6 or step == "before the answer":
            raise Crash(step)
        self.failed_at_us.append(START_US + self._loop.elapsed_us)
        raise BackendFailure("a planted fault", retry=kind < 0.8)
