"""The shared store: the same engine as one of many nodes over one PostgreSQL. Writers are tasks of the event
loop, each with a connection of its own, and take their batches from one queue; reads have a few
connections of theirs; one more is for this node's place among the nodes and for what it tells them.

While the database is away, every operation and read is refused at once (503), connections are opened
again with growing pauses, and nothing has to be repaired afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from narrows.clock import Clock, DatabaseClock
from narrows.errors import NarrowsError, StorageError, Unavailable
from narrows.storage import connecting, postgres_schema
from narrows.storage.at_work import AtWork
from narrows.storage.backend import BackendFailure
from narrows.storage.calls import NODES, READERS, WRITERS, Calls
from narrows.storage.committed import Committed
from narrows.storage.connecting import Access, open_connection, prepared
from narrows.storage.front import Front, Read
from narrows.storage.hints import Gathered
from narrows.storage.line import SESSION, Line
from narrows.storage.membership import Membership
from narrows.storage.news import CHANNEL, POLL_SECS, Interests, News
from narrows.storage.postgres import PostgresConnection
from narrows.storage.postgres_errors import NO_CONNECTION, RETRY_AFTER_SECS, sentence, tells_of_a_pooler
from narrows.storage.postgres_reader import PostgresReader
from narrows.storage.queued import Ticket
from narrows.storage.transaction import Limits
from narrows.storage.writer import Outcome, Result, Writer, unknown

log = logging.getLogger("narrows.storage")

FIRST_PAUSE_SECS: Final = 0.1
LONGEST_PAUSE_SECS: Final = 2.0
CLOSE_SECS: Final = 10.0
#: A batch that takes longer holds up no others.
PATIENCE_SECS: Final = 0.01
NO_INTERESTS: Final = Interests({}, frozenset())


class PostgresStore(Front):
    """An open shared store. `on_commit` is called with every commit, this node's and those of others;
    `interests` says which of the latter are to be read."""

    def __init__(
        self,
        access: Access,
        clock: Clock,
        *,
        limits: Limits | None = None,
        max_queue: int = 20_000,
        max_batch: int = 256,
        on_commit: Callable[[Committed], None] = lambda committed: None,
        on_fatal: Callable[[str], None] = lambda reason: None,
        interests: Callable[[], Interests] = lambda: NO_INTERESTS,
        failpoint: Callable[[str], Any] = lambda step: None,
        database_time: bool = True,
    ) -> None:
        super().__init__(self._committed)
        self._publish = on_commit
        self._on_fatal = on_fatal
        self._access = access
        self._pooled = access.pooled
        self._database_clock = DatabaseClock(clock)
        self._told = self._database_clock.learn if database_time else lambda now: None
        self.clock: Clock = self._database_clock if database_time else clock
        self._given_time = None if database_time else clock.now
        self._node_id = clock.random_bytes(16).hex()
        self.calls = {WRITERS: Calls(), READERS: Calls(), NODES: Calls()}
        self._wake = asyncio.Event()
        self._at_work = AtWork()
        self.writer = Writer(
            self.clock,
            limits or Limits(),
            max_queue=max_queue,
            max_batch=max_batch,
            failpoint=failpoint,
            wake=self._awaken,
        )
        self._connections = [self._writing(number) for number in range(access.writers)]
        self._idle_readers = [self._reader() for _ in range(access.readers)]
        self._reader_places = asyncio.Semaphore(access.readers)
        self._fingerprints: Sequence[str] = ()
        self._membership = Membership(
            self._line(NODES), self._node_id, self._members_changed, self._told, self._admit
        )
        self.members = self._membership.nodes
        self._teller = self._line(NODES)
        self._gathered = Gathered()
        self._has_news = asyncio.Event()
        listen = None if access.listen_url == "" else self._listen
        self._news = News(self, self._node_id, self._membership.nodes, on_commit, interests, listen)
        self._sessions = itertools.count(1)
        self._blocked_until = 0.0
        self._pause_secs = FIRST_PAUSE_SECS
        self._writers: list[asyncio.Task[None]] = []
        self._others: list[asyncio.Task[Any]] = []
        self._reads: set[asyncio.Task[Any]] = set()
        self.applied_migrations: list[str] = []

    # ---- life ----------------------------------------------------------------------------------

    async def open(self, fingerprints: Sequence[str] = ()) -> None:
        """Check the server, bring the schema up to date, take a place among the nodes. `fingerprints` are
        those of this node's secret keys, of which the nodes have one in common.

        Raises StorageError where the database cannot be used, SchemaUnknown where its schema is not ours.
        """
        line = self._line(NODES)
        self._fingerprints = fingerprints
        try:
            await self._look_for_a_pooler()
            await postgres_schema.check_server(line)
            await postgres_schema.refuse_half_moved(line)  # nothing is migrated under a move
            self.applied_migrations = await postgres_schema.migrate(line)
            await self._membership.join()
        except (*NO_CONNECTION, BackendFailure, Unavailable) as error:
            raise StorageError(
                f"The database cannot be used: {sentence(error)}. Check its address and that it runs."
            ) from error
        finally:
            await line.close()

    async def _admit(self, line: Line) -> None:
        """What was so before the lock of those who join need not be so any more: a move may have begun, or
        ended, or another first node may have brought its key."""
        await postgres_schema.refuse_half_moved(line)
        await postgres_schema.agree_on_keys(line, self._fingerprints)
        ((newest,),) = await line.rows("last_stamp", {})
        self.writer.begin_after(newest or 0)

    def start(self) -> None:
        """Start the writers and what goes on beside them."""
        self._writers = [
            asyncio.create_task(self._write(connection), name=f"narrows-writer-{number}")
            for number, connection in enumerate(self._connections)
        ]
        self._others = [
            asyncio.create_task(self._membership.run(), name="narrows-membership"),
            asyncio.create_task(self._tell_others(), name="narrows-hints"),
            asyncio.create_task(self._news.run(), name="narrows-news"),
        ]

    async def close(self) -> None:
        """Finish what is queued, then close everything."""
        self._hand_over()
        self.writer.close()
        if self._writers:
            _, late = await asyncio.wait(self._writers, timeout=CLOSE_SECS)
            for task in late:
                task.cancel()
        for task in self._others:
            task.cancel()
        await asyncio.gather(*self._writers, *self._others, *self._reads, return_exceptions=True)
        self._refuse_queued("The server is shutting down. Send again in a moment.")
        if self._others:
            await self._tell_now()
        await self._membership.leave()
        lines = [connection.line for connection in self._connections]
        lines += [reader.line for reader in self._idle_readers]
        lines += [self._membership.line, self._teller]
        await asyncio.gather(*(line.close() for line in lines), return_exceptions=True)

    # ---- connections -----------------------------------------------------------------------------

    async def _connect(self) -> Any:
        """A connection. Raises Unavailable, without trying, for a while after it could not be opened."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._blocked_until:
            raise Unavailable("The database cannot be reached.", retry_after_secs=RETRY_AFTER_SECS)
        try:
            connection = await self._opened()
        except NO_CONNECTION as error:
            self._blocked_until = loop.time() + self._pause_secs
            self._pause_secs = min(2 * self._pause_secs, LONGEST_PAUSE_SECS)
            raise Unavailable(
                f"The database cannot be reached: {sentence(error)}.", retry_after_secs=RETRY_AFTER_SECS
            ) from error
        self._pause_secs = FIRST_PAUSE_SECS
        return connection

    async def _opened(self) -> Any:
        """A connection, also where a pooler has come between since this node started: it takes no settings."""
        try:
            name = f"{SESSION} {self._node_id[:16]} {next(self._sessions)}"
            return await open_connection(self._access.url, pooled=self._pooled, name=name)
        except asyncpg.ProtocolViolationError as error:
            if self._pooled or not self._is_pooled(error):
                raise
        return await open_connection(self._access.url, pooled=True)

    async def _listen(self, heard: Callable[..., None]) -> Any:
        """A connection of its own, since it has to stay on one server: past a pooler, if there is one."""
        if self._pooled and self._access.listen_url is None:
            raise Unavailable("There is a pooler, and no address past it to listen at.")
        connection = await open_connection(self._access.listen_url or self._access.url, pooled=False)
        async with prepared(connection):
            await connection.add_listener(CHANNEL, heard)
        return connection

    def _line(self, who: str) -> Line:
        return Line(self._connect, self.calls[who], lambda: self._pooled)

    def _writing(self, number: int) -> PostgresConnection:
        return PostgresConnection(
            self._line(WRITERS),
            lambda: f"n{self._membership.nodes.own}.{number}",
            self.clock.random_bytes,
            told=self._told,
            clock=self._given_time,
            finds_a_pooler=self._is_pooled,
        )

    def _reader(self) -> PostgresReader:
        return PostgresReader(self._line(READERS), self.clock.now)

    async def _look_for_a_pooler(self) -> None:
        """A pooler gives a session a number of its own, so that it can be found out before a statement
        that was prepared on one server is executed on another, where that name may mean something else."""
        connection = await open_connection(self._access.url, pooled=True)
        try:
            async with asyncio.timeout(connecting.CONNECT_SECS), connection.transaction():
                is_direct = (
                    await connection.fetchval("select pg_backend_pid()") == connection.get_server_pid()
                )
        finally:
            connection.terminate()
            await asyncio.sleep(0)  # the transport closes in a turn of the loop
        if not is_direct and not self._pooled:
            log.warning("a pooler stands before the database: going on without prepared statements")
            self._pooled = True

    def _is_pooled(self, error: BaseException) -> bool:
        """Whether it turned out that prepared statements do not survive here: then none are used any more."""
        if not tells_of_a_pooler(error):
            return False
        if not self._pooled:
            log.warning("a pooler lends connections per transaction: going on without prepared statements")
            self._pooled = True
            for connection in self._connections:
                connection.line.drop()
            for reader in self._idle_readers:
                reader.line.drop()
        return True

    # ---- reads ----------------------------------------------------------------------------------

    async def read(self, read: Read[Any]) -> Any:
        """The answer, also if the caller has gone meanwhile: a connection is left by nobody in the midst of
        something."""
        task = asyncio.get_running_loop().create_task(self._read(read))
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)
        return await asyncio.shield(task)

    async def _read(self, read: Read[Any]) -> Any:
        async with self._reader_places:
            for attempt in (1, 2):
                reader = self._idle_readers.pop() if self._idle_readers else self._reader()
                try:
                    return await reader.perform(read)
                except (Unavailable, StorageError, BackendFailure) as error:
                    # An old connection may have been cut without a word: a read may be asked again.
                    self._is_pooled(error)
                    if attempt == 2:
                        raise _as_unavailable(error) from error
                finally:
                    self._idle_readers.append(reader)
        raise AssertionError("unreachable")

    # ---- writes ---------------------------------------------------------------------------------

    async def _write(self, connection: PostgresConnection) -> None:
        """One writer: whatever queued meanwhile is its next batch."""
        loop = asyncio.get_running_loop()
        while True:
            batch = self.writer.take_now() if self._may_take() else []
            if batch:
                with self._at_work.batch(len(batch)) as is_late, self.pace.awaiting():
                    self._awaken()  # a full batch may leave something behind
                    late = loop.call_later(PATIENCE_SECS, self._go_past, is_late)
                    self._answer(batch, await self._execute(connection, batch))
                    late.cancel()
            elif self.writer.is_closing:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _may_take(self) -> bool:
        """Whether an idle writer takes what waits."""
        return self.writer.is_closing or self._at_work.is_one_more_worth_it(self.writer.queue_length)

    def _awaken(self) -> None:
        """Wake the idle writers, where one of them would take what waits."""
        if self._may_take():
            self._wake.set()

    def _go_past(self, is_late: Callable[[], None]) -> None:
        """Let another writer go to work beside a batch that takes long."""
        is_late()
        self._awaken()

    async def _execute(self, connection: PostgresConnection, batch: list[Ticket]) -> list[Result]:
        try:
            return await self.writer.execute(connection, batch)
        except BaseException as failure:
            # A fault of ours, or a task that is cut off: nobody may wait for ever.
            connection.line.drop()
            self._answer(batch, [unknown(batch)])
            if not isinstance(failure, asyncio.CancelledError):
                self._fail(f"The outcome of a commit cannot be known: {failure!r}. Start this node again.")
            raise

    def _fail(self, reason: str) -> None:
        """Nothing is written any more, and what is queued was not done."""
        if self.failure is not None:
            return
        self.failure = reason
        log.critical(reason)
        self.writer.close()
        self._refuse_queued(reason)
        self._on_fatal(reason)

    def _refuse_queued(self, reason: str) -> None:
        while refused := self.writer.take_now():
            error = Unavailable(reason, retry_after_secs=5)
            self._answer(refused, [Result([Outcome(error=error) for _ in refused], None)])

    def _committed(self, committed: Committed) -> None:
        self._publish(committed)
        if self._membership.nodes.has_others:
            self._gathered.add(committed)
            self._has_news.set()

    # ---- other nodes -----------------------------------------------------------------------------

    def _members_changed(self) -> None:
        """What one that has gone would have done is looked for by those who stay; who came has been told
        of nothing that was committed here before he was known."""
        self._news.look()
        self._gathered.missed()
        self._has_news.set()

    async def _tell_others(self) -> None:
        """Send hints, one at a time: what is committed while one is on its way goes with the next."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            if not await self._tell_now():
                await asyncio.sleep(POLL_SECS)
                self._has_news.set()

    async def _tell_now(self) -> bool:
        """Whether the others know. Where not, nobody knows what of it they heard: next time they are to look."""
        gathered, self._gathered = self._gathered, Gathered()
        if not gathered:
            return True
        try:
            await self._teller.fetch("select pg_notify($1, $2)", CHANNEL, gathered.text(self._node_id))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            self._teller.drop()
            self._gathered.missed()
            log.info("a hint could not be sent: %s", error)
            return False
        return True


def _as_unavailable(error: NarrowsError | BackendFailure) -> NarrowsError:
    if isinstance(error, NarrowsError):
        return error
    return Unavailable(f"{sentence(error)}. Try again in a moment.", retry_after_secs=RETRY_AFTER_SECS)
