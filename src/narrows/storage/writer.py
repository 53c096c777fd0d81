"""The one writer: group commit without linger. The batch is whatever queued while the last commit
ran; idle latency is one commit, under load hundreds of operations share one.

    take -> begin -> load all touches() -> apply() each, in order -> turn -> flush -> COMMIT -> answer

The writer is written once: a backend brings the connection and something that drives `execute`
(a thread for SQLite). It holds no rule and no SQL.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from narrows.clock import Clock
from narrows.core.records import ApiKey, HeldEvent, Trigger
from narrows.core.run_records import Delivery, Job, Message, Run
from narrows.core.workflow_records import WorkflowRun
from narrows.errors import (
    InternalError,
    InvariantViolated,
    NarrowsError,
    OutcomeUnknown,
    Refusal,
    Unavailable,
)
from narrows.storage.backend import BackendFailure, WriteConnection
from narrows.storage.committed import Committed
from narrows.storage.lookups import Touch
from narrows.storage.noted import TURN, NotAdvancedYet, TurnAsks
from narrows.storage.operation import NoTurns, Operation, Turns, Undecided, UndecidedTurn
from narrows.storage.transaction import Limits, Transaction

log = logging.getLogger("narrows.storage")

#: A batch takes at most so many operations, keys and bytes; one larger operation goes alone.
MAX_BATCH_OPERATIONS = 256
MAX_BATCH_TOUCHES = 1_024
MAX_BATCH_BYTES = 8 << 20
#: A batch that lost a race is run so often as a whole, then each of its operations so often alone.
ATTEMPTS = 3
#: What comes further each time, since more is locked, is no lost race: of a workflow run, a step may open the way
#: to the next.
MAX_LEARNED = 1_024


class Ticket(NamedTuple):
    """An operation in the queue, and who waits for its outcome."""

    operation: Operation
    touches: Sequence[Touch]
    future: asyncio.Future[Any] | None


class Outcome(NamedTuple):
    """Of one operation: a value, or an error that is raised to whoever asked."""

    value: Any = None
    error: BaseException | None = None


class Result(NamedTuple):
    """Of one batch. `committed` is None where nothing was committed."""

    outcomes: list[Outcome]
    committed: Committed | None


class BatchMustSplit(Exception):
    """The batch as a whole cannot be committed; each operation is tried alone."""


class Writer:
    """Queue, batches and execution. `failpoint` is called with the name of each step (tests), `wake` when
    there is something to take."""

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        *,
        max_queue: int = 20_000,
        max_queue_bytes: int = 64 << 20,
        max_batch: int = MAX_BATCH_OPERATIONS,
        last_stamp: int = 0,
        failpoint: Callable[[str], Awaitable[None] | None] = lambda step: None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.failpoint = failpoint
        self._wake = wake
        self.invariant_violations = 0
        self.clock_step_back_us = 0
        self._max_queue = max_queue
        self._max_queue_bytes = max_queue_bytes
        self._max_batch = max_batch
        self._last_stamp = last_stamp
        self._quiet_until = -1.0
        self._foreground: deque[Ticket] = deque()
        self._background: deque[Ticket] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._condition = threading.Condition()
        #: Set by whoever knows the rules (the service).
        self.turns: Turns = NoTurns()

    def begin_after(self, stamp: int) -> None:
        """Let every stamp be later than this one, the newest in the store."""
        self._last_stamp = max(self._last_stamp, stamp)

    # ---- the queue -------------------------------------------------------------------------

    @property
    def queue_length(self) -> int:
        return len(self._foreground) + len(self._background)

    @property
    def is_nearly_full(self) -> bool:
        """Whether nine tenths of the queue's places are taken."""
        return self.queue_length > self._max_queue * 9 // 10

    def put(self, ticket: Ticket) -> None:
        """Queue an operation. Raises Unavailable beyond the bounds: nothing was done.

        Background work is not bounded here: there is little of it, each driver waits for one operation
        before it queues the next, and time-outs must not fail because senders are many.
        """
        with self._condition:
            if self._closing:
                raise Unavailable("The server is shutting down. Send again in a moment.", retry_after_secs=2)
            if ticket.operation.background:
                self._background.append(ticket)
            else:
                self._put_in_foreground(ticket)
            self._condition.notify()
        self._wake()

    def _put_in_foreground(self, ticket: Ticket) -> None:
        size = ticket.operation.size_bytes
        if len(self._foreground) >= self._max_queue or (
            self._queued_bytes + size > self._max_queue_bytes and self._foreground
        ):
            raise Unavailable("The server's queue is full. Send again in a moment.", retry_after_secs=1)
        self._queued_bytes += size
        self._foreground.append(ticket)

    def take(self) -> list[Ticket] | None:
        """Block until there is something to do; None when closed and empty."""
        with self._condition:
            while not self._foreground and not self._background:
                if self._closing:
                    return None
                self._condition.wait()
            return self._next_batch()

    def take_now(self) -> list[Ticket]:
        """The next batch without waiting, perhaps empty."""
        with self._condition:
            return self._next_batch()

    def _next_batch(self) -> list[Ticket]:
        """Whatever is queued, within bounds; background work comes behind, one operation a batch."""
        batch: list[Ticket] = []
        touches = size = 0
        while self._foreground and len(batch) < self._max_batch:
            ticket = self._foreground[0]
            touches += len(ticket.touches)
            size += ticket.operation.size_bytes
            if batch and (touches > MAX_BATCH_TOUCHES or size > MAX_BATCH_BYTES):
                break
            batch.append(self._foreground.popleft())
        for ticket in batch:
            self._queued_bytes -= ticket.operation.size_bytes
        # Also behind a full batch, or senders enough would keep the time-outs from ever running. (A batch
        # of one is the benchmark's switch: there nothing shares a commit.)
        if self._background and (not batch or self._max_batch > 1):
            batch.append(self._background.popleft())
        return batch

    def close(self) -> None:
        """Take nothing new; `take` drains what is queued and then answers None."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._wake()

    @property
    def is_closing(self) -> bool:
        return self._closing

    # ---- execution -------------------------------------------------------------------------

    async def execute(self, connection: WriteConnection, batch: Sequence[Ticket]) -> list[Result]:
        """Run a batch in one commit; where that fails for a race, again; else one at a time."""
        lost = learned = 0
        while lost < ATTEMPTS and learned < MAX_LEARNED:
            try:
                return [await self._attempt(connection, batch)]
            except BatchMustSplit as problem:
                log.warning("a batch of %d is run one at a time: %s", len(batch), problem)
                break
            except BackendFailure as failure:
                if failure.alone and len(batch) > 1:
                    log.warning("a batch of %d is run one at a time: %s", len(batch), failure)
                    break
                if not failure.retry:
                    return [self._all_failed(batch, failure)]
                lost, learned = lost + (not failure.learned), learned + failure.learned
        return [result for ticket in batch for result in await self._alone(connection, ticket)]

    async def _alone(self, connection: WriteConnection, ticket: Ticket) -> list[Result]:
        failure = BackendFailure("it keeps losing a race")
        times = learned = 0
        while times < ATTEMPTS and learned < MAX_LEARNED:
            try:
                return [await self._attempt(connection, [ticket])]
            except BatchMustSplit as problem:
                cause = problem.__cause__ or problem
                if not isinstance(cause, Refusal):
                    log.error("an operation failed: %s", type(ticket.operation).__name__, exc_info=cause)
                error = cause if isinstance(cause, NarrowsError) else InternalError("The operation failed.")
                return [Result([Outcome(error=error)], None)]
            except BackendFailure as lost:
                failure = lost
                if lost.alone or not lost.retry:
                    break
                times, learned = times + (not lost.learned), learned + lost.learned
        if failure.clash:
            log.error(
                "an operation breaks a constraint each time: %s: %s", type(ticket.operation).__name__, failure
            )
            return [Result([Outcome(error=InternalError("The operation failed."))], None)]
        return [self._all_failed([ticket], failure)]

    def _all_failed(self, batch: Sequence[Ticket], failure: BackendFailure) -> Result:
        if failure.fatal:
            raise failure
        if failure.unknown:
            log.error("the outcome of a batch of %d is unknown: %s", len(batch), failure)
            return unknown(batch)
        now = self.clock.monotonic()
        if now >= self._quiet_until:  # while the database is away, one line a second tells it
            self._quiet_until = now + 1.0
            log.error("nothing of a batch of %d was done: %s", len(batch), failure)
        message = f"The database cannot be written: {failure}. Nothing was done; send again later."
        return Result([Outcome(error=Unavailable(message, retry_after_secs=5)) for _ in batch], None)

    async def _attempt(self, connection: WriteConnection, batch: Sequence[Ticket]) -> Result:
        started = self.clock.monotonic()
        await self._step("begin")
        touches = [touch for ticket in batch for touch in ticket.touches]
        try:
            await connection.begin(touches)
            tx = Transaction(*self._stamp(connection.now), self.limits, connection.writer_name)
            await self._load(connection, tx, touches)
            await self._step("loaded")
            outcomes = [
                await self._perform(connection, tx, place, ticket.operation)
                for place, ticket in enumerate(batch)
            ]
            await self._turn(connection, tx)
            await self._step("applied")
            await self._flush(connection, tx)
            await self._step("flushed")
            await connection.commit()
        except (BackendFailure, BatchMustSplit):
            await connection.rollback()
            raise
        except TurnAsks as asks:
            await connection.rollback()
            return await self._without(connection, batch, asks)
        except Exception as error:
            # A page that cannot be read, a text that cannot be written: only one operation's affair.
            await connection.rollback()
            raise BatchMustSplit(f"it failed as a whole ({error})") from error
        await self._step("committed")
        return Result(outcomes, _committed(tx, len(batch), self.clock.monotonic() - started))

    async def _without(self, connection: WriteConnection, batch: Sequence[Ticket], asks: TurnAsks) -> Result:
        """The operations that what is asked comes from are answered so; the others are run again."""
        asked = [asks.of(place) for place in range(len(batch))]
        rest = [ticket for ticket, questions in zip(batch, asked, strict=True) if not questions]
        result = await self._attempt(connection, rest) if rest else Result([], None)
        outcomes = iter(result.outcomes)
        return result._replace(
            outcomes=[
                Outcome(error=UndecidedTurn(questions)) if questions else next(outcomes)
                for questions in asked
            ]
        )

    async def _perform(
        self, connection: WriteConnection, tx: Transaction, place: int, operation: Operation
    ) -> Outcome:
        """Apply one operation; where it has to see what follows from those before it, after that."""
        tx.notes.act(place)
        try:
            return self._apply(tx, operation)
        except NotAdvancedYet:
            await self._turn(connection, tx)
            tx.notes.act(place)
            return self._apply(tx, operation)
        finally:
            tx.notes.act(None)

    async def _turn(self, connection: WriteConnection, tx: Transaction) -> None:
        """Advance the workflow runs of which something has been noted."""
        tx.notes.act(TURN)
        for touches in self.turns.run(tx):
            await connection.lock(touches)
            await self._load(connection, tx, touches)

    async def _step(self, name: str) -> None:
        """A fail-point; one that answers something holds the writer until that has come."""
        holds = self.failpoint(name)
        if holds is not None:
            await holds

    def _stamp(self, wall: int) -> tuple[int, int]:
        """The batch's stamp, which only rises, and the wall clock, which need not."""
        self.clock_step_back_us = max(0, self._last_stamp - wall)
        self._last_stamp = max(self._last_stamp + 1, wall)
        return self._last_stamp, wall

    async def _load(self, connection: WriteConnection, tx: Transaction, touches: Sequence[Touch]) -> None:
        """Everything that the batch names, then what that leads to, in a fixed order of statements."""
        # What is named may be at hand, and lead on all the same: the head of a queue, to the run behind it.
        wanted = tx.missing(touches) or tx.missing(tx.links())
        if not wanted:
            return
        while wanted:
            found = await connection.load_all({statement: wanted[statement] for statement in sorted(wanted)})
            for statement, rows in found.items():
                tx.loaded(statement, rows)
            wanted = tx.missing(tx.links())
        tx.come_after_what_is_loaded()
        self._last_stamp = max(self._last_stamp, tx.now)
        tx.time_out_overdue(int.from_bytes(self.clock.random_bytes(8), "big"))

    def _apply(self, tx: Transaction, operation: Operation) -> Outcome:
        """Apply one operation. One that was refused has saved nothing, or the batch is given up."""
        before = tx.changes
        try:
            return Outcome(operation.apply(tx))
        except (Refusal, Undecided) as refusal:
            if tx.changes != before:
                self.invariant_violations += 1
                raise BatchMustSplit("a refused operation had saved something") from refusal
            return Outcome(error=refusal)
        except NotAdvancedYet as early:
            if tx.changes != before:
                raise BatchMustSplit("an operation that came too early had saved something") from early
            raise
        except Exception as error:
            if isinstance(error, InvariantViolated):
                self.invariant_violations += 1
            if tx.changes != before:
                raise BatchMustSplit("an operation failed half-way") from error
            log.exception("an operation failed: %s", type(operation).__name__)
            return Outcome(
                error=error if isinstance(error, NarrowsError) else InternalError("The operation failed.")
            )

    async def _flush(self, connection: WriteConnection, tx: Transaction) -> None:
        writes = tx.writes()
        for write, changed in zip(writes, await connection.write(writes), strict=True):
            await self._step(f"wrote {write.statement}")
            if write.exact and changed != len(write.rows):
                self.invariant_violations += 1
                raise BatchMustSplit(f"{write.statement} changed {changed} of {len(write.rows)} rows")


def _committed(tx: Transaction, operations: int, commit_secs: float) -> Committed:
    return Committed(
        facts=tuple(tx.facts),
        triggers=tx.changed(Trigger),
        api_keys=tx.changed(ApiKey),
        held_events=tx.changed(HeldEvent),
        operations=operations,
        now=tx.now,
        commit_secs=commit_secs,
        jobs=tx.changed(Job),
        runs=tx.changed(Run),
        deliveries=tx.changed(Delivery),
        messages=tx.changed(Message),
        workflow_runs=tx.changed(WorkflowRun),
    )


def unknown(batch: Sequence[Ticket]) -> Result:
    """What a batch is answered whose commit nobody can tell the outcome of."""
    message = "The outcome of the commit is unknown. Ask for the trigger before you send again."
    return Result([Outcome(error=OutcomeUnknown(message)) for _ in batch], None)
