"""The one writer: group commit. The batch is whatever queued while the last commit ran (`queued.py`); idle
latency is one commit, under load hundreds of operations share one.

    take -> begin -> load all touches() -> apply() each, in order -> turn -> hand out -> flush -> COMMIT -> answer

The writer is written once: a backend brings the connection and something that drives `execute`
(a thread for SQLite). It holds no rule and no SQL.
"""

from __future__ import annotations

import logging
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
from narrows.storage.committed import Committed, Handed
from narrows.storage.lookups import Touch
from narrows.storage.noted import TURN, NotAdvancedYet, TurnAsks
from narrows.storage.operation import (
    Handing,
    NothingToHand,
    NoTurns,
    Operation,
    Turns,
    Undecided,
    UndecidedTurn,
)
from narrows.storage.queued import MAX_BATCH_OPERATIONS, Queued, Ticket
from narrows.storage.transaction import Limits, Transaction

log = logging.getLogger("narrows.storage")

#: A batch that lost a race is run so often as a whole, then each of its operations so often alone.
ATTEMPTS = 3
#: What comes further each time, since more is locked, is no lost race: of a workflow run, a step may open the way
#: to the next.
MAX_LEARNED = 1_024


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


class Writer(Queued):
    """The execution of what is queued. `failpoint` is called with the name of each step (tests), `wake` when
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
        super().__init__(max_queue=max_queue, max_queue_bytes=max_queue_bytes, max_batch=max_batch, wake=wake)
        self.clock = clock
        self.limits = limits
        self.failpoint = failpoint
        self.invariant_violations = 0
        self.clock_step_back_us = 0
        self._last_stamp = last_stamp
        self._stamped = 0  # how often the last stamp has moved
        self._quiet_until = -1.0
        #: Set by whoever knows the rules (the service).
        self.turns: Turns = NoTurns()
        self.handing: Handing = NothingToHand()

    def begin_after(self, stamp: int) -> None:
        """Let every stamp be later than this one, the newest in the store."""
        self._last_stamp = max(self._last_stamp, stamp)
        self._stamped += 1

    # ---- execution -------------------------------------------------------------------------

    async def execute(self, connection: WriteConnection, batch: Sequence[Ticket]) -> list[Result]:
        """Run a batch in one commit; where that fails for a race, again; else one at a time."""
        connection.forget()
        lost = learned = 0
        while lost < ATTEMPTS and learned < MAX_LEARNED:
            try:
                # While more waits to be written runs are left to claims, which take many at once.
                hands_out = not (lost or learned or self._foreground)
                return [await self._attempt(connection, batch, hands_out=hands_out)]
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
        connection.forget()
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

    async def _attempt(
        self, connection: WriteConnection, batch: Sequence[Ticket], *, hands_out: bool = False
    ) -> Result:
        """Run it once, to the commit. Only the first try hands runs out: what is in the way of that must not be in
        the way of a batch again and again."""
        handed: list[Handed] = []
        try:
            return await self._attempt_with(connection, batch, handed if hands_out else None)
        except BaseException:
            for each in handed:
                each.reservation.release()
            raise

    async def _attempt_with(
        self, connection: WriteConnection, batch: Sequence[Ticket], handed: list[Handed] | None
    ) -> Result:
        started = self.clock.monotonic()
        last_stamp, stamped = self._last_stamp, -1
        await self._step("begin")
        # Each but once: all of a batch may name one credential.
        touches = list(dict.fromkeys(touch for ticket in batch for touch in ticket.touches))
        try:
            await connection.begin(touches)
            last_stamp = self._last_stamp
            tx = Transaction(*self._stamp(connection.now), self.limits, connection.writer_name)
            stamped = self._stamped
            await self._load(connection, tx, touches)
            await self._step("loaded")
            outcomes = await self._apply_all(connection, tx, batch)
            await self._turn(connection, tx)
            if handed is not None:
                await self._hand_out(connection, tx, handed)
            await self._step("applied")
            await self._flush(connection, tx)
            await self._step("flushed")
            await connection.commit()
        except BackendFailure as failure:
            await connection.rollback()
            if failure.retry and self._stamped == stamped:
                self._last_stamp = last_stamp  # nothing bears it, and nobody has moved on from it
            raise
        except BatchMustSplit:
            await connection.rollback()
            raise
        except TurnAsks as asks:
            await connection.rollback()
            return await self._without(connection, batch, asks, handed is not None)
        except Exception as error:
            # A page that cannot be read, a text that cannot be written: only one operation's affair.
            await connection.rollback()
            raise BatchMustSplit(f"it failed as a whole ({error})") from error
        self.handing.committed(tx)
        await self._step("committed")
        committed = _committed(tx, len(batch), self.clock.monotonic() - started)
        return Result(outcomes, committed._replace(handed=tuple(handed or ())))

    async def _without(
        self, connection: WriteConnection, batch: Sequence[Ticket], asks: TurnAsks, hands_out: bool
    ) -> Result:
        """The operations that what is asked comes from are answered so; the others are run again."""
        asked = [asks.of(place) for place in range(len(batch))]
        rest = [ticket for ticket, questions in zip(batch, asked, strict=True) if not questions]
        result = Result([], None)
        if rest:
            result = await self._attempt(connection, rest, hands_out=hands_out)
        outcomes = iter(result.outcomes)
        return result._replace(
            outcomes=[
                Outcome(error=UndecidedTurn(questions)) if questions else next(outcomes)
                for questions in asked
            ]
        )

    async def _apply_all(
        self, connection: WriteConnection, tx: Transaction, batch: Sequence[Ticket]
    ) -> list[Outcome]:
        """Apply the operations in order."""
        outcomes = []
        for place, ticket in enumerate(batch):
            tx.notes.act(place)
            try:
                outcome = self._apply(tx, ticket.operation)
            except NotAdvancedYet:
                outcome = await self._apply_behind_a_turn(connection, tx, place, ticket.operation)
            outcomes.append(outcome)
        return outcomes

    async def _apply_behind_a_turn(
        self, connection: WriteConnection, tx: Transaction, place: int, operation: Operation
    ) -> Outcome:
        """Apply one that has to see what follows from those before it."""
        await self._turn(connection, tx)
        tx.notes.act(place)
        return self._apply(tx, operation)

    async def _turn(self, connection: WriteConnection, tx: Transaction) -> None:
        """Advance the workflow runs of which something has been noted."""
        tx.notes.act(TURN)
        for touches in self.turns.run(tx):
            await connection.lock(touches)
            await self._load(connection, tx, touches)

    async def _hand_out(self, connection: WriteConnection, tx: Transaction, handed: list[Handed]) -> None:
        """Give runs that this batch queues to those who wait for them."""
        for touches in self.handing.run(tx, handed):
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
        self._stamped += 1
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
        if tx.now > self._last_stamp:
            self._last_stamp = tx.now
            self._stamped += 1
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
