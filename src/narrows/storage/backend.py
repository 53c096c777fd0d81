"""What a backend offers. A backend is whatever passes `tests/storage/conformance`.

The methods are coroutines so that the writer and the reads are written once: PostgreSQL's will
suspend, SQLite's never do and are driven by `run_now` on a thread of their own.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]
#: (lookup name, *key), as in `lookups.py`.
Touch = tuple[str, ...]


class Write(NamedTuple):
    """One statement of the flush with all its rows. `exact`: each row must change a row."""

    statement: str
    rows: list[Row]
    exact: bool


class Reader(Protocol):
    """A connection that never changes anything. `now` is the wall clock in microseconds."""

    @property
    def now(self) -> int: ...

    async def rows(self, statement: str, **parameters: Any) -> list[Row]:
        """The rows of a named statement with `:name` parameters."""

    async def load(self, statement: str, rows: list[Row]) -> list[Row]:
        """The rows of a named statement with `@input`, for a whole batch of keys."""


class WriteConnection(Reader, Protocol):
    """A connection of a writer. Between `begin` and the end of the transaction, `now` is the time after
    the last lock was taken."""

    @property
    def writer_name(self) -> str:
        """Whose rows of the counters this connection changes; no other writer changes them."""

    def forget(self) -> None:
        """Another batch comes: whatever the one before was found to need has nothing to do with it."""

    async def load_all(self, wanted: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """Several loads at once, each as by `load`."""

    async def begin(self, touches: Sequence[Touch]) -> None:
        """Begin a transaction that holds whatever locks these touches need: what is loaded by them then
        stays as it is until the end, or `write` finds that it has not."""

    async def lock(self, touches: Sequence[Touch]) -> None:
        """Take the locks that these touches need beyond those that are held. Raises BackendFailure (`retry`)
        where that could wait in a circle: begun again, the transaction takes them in their order."""

    async def write(self, writes: Sequence[Write]) -> list[int]:
        """Run statements with `@input`; answers how many rows each changed. What cannot be otherwise any more may be
        committed with them; `commit` then has nothing to do."""

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class BackendFailure(Exception):
    """The database did not do what was asked. `retry`: a race, run it again; `alone`: the batch as a whole will
    not do (somebody held a lock for too long, for which no operation should wait but the one that needs it; or
    it needed too many): each operation is tried once by itself; `clash`: it broke a constraint (a row was there
    already), and if it is so each time, that is no race; `learned`: it is known now what else has to be locked, so that
    the next run comes further; `unknown`: nobody can tell whether the commit took place; `fatal`: neither can
    this process ever, and has to end."""

    def __init__(
        self,
        message: str,
        *,
        retry: bool = False,
        alone: bool = False,
        clash: bool = False,
        learned: bool = False,
        unknown: bool = False,
        fatal: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry = retry
        self.alone = alone
        self.clash = clash
        self.learned = learned
        self.unknown = unknown
        self.fatal = fatal


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine that never suspends. Raises RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine that must not suspend has suspended")
