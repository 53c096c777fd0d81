"""What the writer (`writer.py`) is handed: operations, what advances workflow runs after them, and what hands
runs out that are queued thereby."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from narrows.errors import InvariantViolated
from narrows.storage.committed import Handed
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


class Operation(Protocol):
    """A change that is asked for: a frozen value. `apply` may run twice, so it only reads and saves."""

    @property
    def background(self) -> bool: ...

    @property
    def size_bytes(self) -> int: ...

    def touches(self) -> Sequence[Touch]: ...

    def apply(self, tx: Transaction) -> Any: ...


class Undecided(Exception):
    """An operation needs an answer that is worked out outside the writer; it has changed nothing."""

    def __init__(self, questions: Sequence[Any]) -> None:
        super().__init__(f"{len(questions)} questions")
        self.questions = tuple(questions)


class UndecidedTurn(Undecided):
    """The same for what follows from an operation: the answers belong to the turn, not to the operation."""


class Turns(Protocol):
    """What advances the workflow runs of which a batch has noted something (`operations/turns.py`)."""

    def run(self, tx: Transaction) -> Iterator[list[Touch]]:
        """Yields what must be loaded. Raises TurnAsks."""


class NoTurns:
    """For a store without workflows."""

    def run(self, tx: Transaction) -> Iterator[list[Touch]]:
        if tx.notes.take():
            raise InvariantViolated("nothing advances workflow runs here")
        yield from ()


class Handing(Protocol):
    """What hands runs out in the commit that queues them (`operations/handing.py`)."""

    def run(self, tx: Transaction, handed: list[Handed]) -> Iterator[list[Touch]]:
        """Yields what must be loaded. Whom it has reserved for this batch it puts into `handed` at once."""

    def committed(self, tx: Transaction) -> None:
        """The batch is committed."""


class NothingToHand:
    """For a store that nobody waits at."""

    def run(self, tx: Transaction, handed: list[Handed]) -> Iterator[list[Touch]]:
        yield from ()

    def committed(self, tx: Transaction) -> None:
        return
