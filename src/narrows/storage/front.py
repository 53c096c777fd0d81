"""What every store does alike, in the event loop's thread: operations go to the writer, a few at once, and
outcomes go to whoever waits for them, after the feed has heard of the commit.

The interface that everybody else knows is `perform`, `read`, `queue_length`, `members` and `close`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from narrows.errors import Unavailable
from narrows.pace import Pace
from narrows.storage.backend import Reader
from narrows.storage.calls import Calls
from narrows.storage.committed import Committed
from narrows.storage.members import ALONE, Members
from narrows.storage.operation import Operation
from narrows.storage.queued import Ticket
from narrows.storage.writer import Outcome, Result, Writer

log = logging.getLogger("narrows.storage")
T_co = TypeVar("T_co", covariant=True)

#: So many operations are handed to the writer at once, at most. All that came in a turn of the loop, and
#: the writer sleeps while the loop reads and the loop while it commits: with 64 senders the slowest
#: hundredth waits 1.8 times as long. One by one, and each batch is a handful.
HANDED_OVER_AT_ONCE = 8


class Read(Protocol[T_co]):
    """A question, as a frozen value; it never changes anything."""

    async def run(self, reader: Reader) -> T_co: ...


def hand_over(committed: Committed) -> None:
    """Give those who waited what is theirs: no hint as the feed is, since nobody else will look for it."""
    for each in committed.handed:
        try:
            each.reservation.accept(tuple(each.runs))
        except Exception:
            log.exception("runs were handed out, and who waited for them did not take them")


class Front:
    """The part of a store that faces the event loop. `on_commit` is called with every commit."""

    writer: Writer
    #: Which nodes serve the database, and which of them does what.
    members: Members = ALONE

    def __init__(self, on_commit: Callable[[Committed], None]) -> None:
        self.failure: str | None = None
        #: What was asked of a database server, by who asked.
        self.calls: Mapping[str, Calls] = {}
        self._on_commit = on_commit
        #: How the event loop's turns are shared out between requests and the writers.
        self.pace = Pace()
        #: What came in this turn of the event loop.
        self._arrived: list[Ticket] = []

    @property
    def queue_length(self) -> int:
        return len(self._arrived) + self.writer.queue_length

    async def perform(self, operation: Operation) -> Any:
        """The outcome of the operation, after its commit. Raises what the operation refused with,
        Unavailable (not done) or OutcomeUnknown; `Undecided` is the service's affair."""
        if self.failure is not None:
            raise Unavailable(self.failure, retry_after_secs=5)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._arrived:
            loop.call_soon(self._hand_over)
        self._arrived.append(Ticket(operation, operation.touches(), future))
        if len(self._arrived) >= HANDED_OVER_AT_ONCE:
            self._hand_over()
        return await future

    def _hand_over(self) -> None:
        """Give the writer what came in this turn of the loop."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            for ticket, refusal in self.writer.put(arrived):
                if ticket.future is not None and not ticket.future.done():
                    ticket.future.set_exception(refusal)

    def _answer(self, batch: Sequence[Ticket], results: Sequence[Result]) -> None:
        tickets = iter(batch)
        for result in results:
            if result.committed is not None:
                hand_over(result.committed)
                self._on_commit(result.committed)
            for outcome in result.outcomes:
                future = next(tickets).future
                if future is not None:
                    self.pace.call(_tell, future, outcome)


def _tell(future: asyncio.Future[Any], outcome: Outcome) -> None:
    """Let who waits go on, if he has not gone."""
    if future.done():
        return
    if outcome.error is not None:
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome.value)
