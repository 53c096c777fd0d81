"""One side of the comparison: an open store with a clock of its own, and a ledger of its commits.

The clocks of all sides stand at the same time and draw the same bytes, so that ids, stamps and jitter are
equal to the letter. A side knows nothing of the others (`comparing.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from narrows.storage.backend import Write
from narrows.storage.committed import Committed
from narrows.storage.transaction import Limits
from narrows.storage.writer import Outcome
from narrows.testing import ManualClock
from tests.differential.tables import TABLES, LookAtRows, Place, Row, places_of
from tests.simulation.ledger import CameDue, LedgerWriter
from tests.simulation.values import HELD_PER_KEY, HELD_PER_PROJECT
from tests.storage.kit import BACKENDS, Backend, Bench, opened

#: So few that a sequence comes to them.
WAITING_PER_PROJECT = 20
LIMITS = Limits(WAITING_PER_PROJECT, HELD_PER_KEY, HELD_PER_PROJECT)

Rows = dict[str, list[Row]]


class StepClock(ManualClock):
    """What is drawn in a step depends on nothing that came before it, nor on what else is drawn by pieces of
    another length: a database that begins a commit anew, or names it, is not another one for ever."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._source = seed
        self._step = 0
        #: Length -> how often in this step.
        self.drawn: Counter[int] = Counter()

    def begin(self, step: int, after_us: int) -> None:
        self._step = step
        self.drawn.clear()
        self.advance(us=after_us)

    def random_bytes(self, count: int) -> bytes:
        self.drawn[count] += 1
        material = f"{self._source}:{self._step}:{count}:{self.drawn[count]}".encode()
        return hashlib.shake_128(material).digest(count)


class Commit(NamedTuple):
    """What shared one commit, what came of it, and what was written."""

    operations: tuple[Any, ...]
    outcomes: tuple[Outcome, ...]
    committed: Committed
    writes: tuple[Write, ...]
    wall: int
    came_due: CameDue


class Side:
    """An open store. `commits` are those of the present step, `begun_again` counts attempts at a commit that
    came to nothing."""

    def __init__(self, name: str, backend: Backend, bench: Bench, clock: StepClock) -> None:
        self.name = name
        self.backend = backend
        self.bench = bench
        self.clock = clock
        self.commits: list[Commit] = []
        self.begun_again = 0
        self._note_commits(bench.store.writer)

    def begin(self, step: int, after_us: int) -> None:
        self.commits, self.begun_again = [], 0
        self.bench.commits.clear()
        self.bench.sink.events.clear()
        self.bench.gate.steps.clear()
        self.clock.begin(step, after_us)

    def _note_commits(self, writer: Any) -> None:
        """The writer is the same over all databases: what it commits is seen there."""
        flushed: list[Write] = []

        def executed(batch: Any, result: Any, came_due: CameDue) -> None:
            if result.committed is None:
                return
            operations, wall = tuple(ticket.operation for ticket in batch), self.clock.now()
            outcomes, writes = tuple(result.outcomes), tuple(flushed)
            self.commits.append(Commit(operations, outcomes, result.committed, writes, wall, came_due))

        LedgerWriter.watch(writer, executed)
        attempt, flush = writer._attempt, writer._flush

        async def noted_flush(connection: Any, tx: Any) -> None:
            flushed[:] = tx.writes()
            await flush(connection, tx)

        async def noted_attempt(connection: Any, batch: Any, **options: Any) -> Any:
            stamp, drawn = writer._last_stamp, self.clock.drawn.copy()
            try:
                return await attempt(connection, batch, **options)
            except BaseException:
                # Some databases begin anew where others need not: that alone makes no other stamps and ids.
                writer._last_stamp, self.clock.drawn = stamp, drawn
                self.begun_again += 1
                raise

        writer._flush, writer._attempt = noted_flush, noted_attempt

    def places(self) -> set[Place]:
        """Which rows were written in this step."""
        writes = (write for commit in self.commits for write in commit.writes)
        return {place for write in writes for place in places_of(write.statement, write.rows)}

    async def rows_at(self, places: Iterable[Place]) -> Rows:
        """What the database holds there now."""
        wanted: dict[tuple[str, tuple[str, ...]], set[Row]] = defaultdict(set)
        for place in sorted(places):
            wanted[place.table, place.columns].add(place.values)
        look = LookAtRows(tuple(wanted), tuple(tuple(sorted(each)) for each in wanted.values()))
        found = await self.bench.store.read(look)
        return {
            f"{table} by {', '.join(columns)}": sorted(rows, key=repr)
            for (table, columns), rows in zip(wanted, found, strict=True)
        }

    async def everything(self) -> Rows:
        """Every row of every table."""
        look = LookAtRows(tuple((table, ()) for table in TABLES), ((),) * len(TABLES))
        found = await self.bench.store.read(look)
        return {table: sorted(rows, key=repr) for table, rows in zip(TABLES, found, strict=True)}


@contextlib.contextmanager
def databases_in(folder: Path, names: Iterable[str]) -> Iterator[dict[str, Backend]]:
    """An empty database for each name of a backend; a name that stands there twice has two."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Backend] = {}
        for name in names:
            side = name if name not in found else f"another {name}"
            place = folder / side
            place.mkdir()
            found[side] = BACKENDS[name](place)
            stack.callback(found[side].close)
        yield found


@contextlib.asynccontextmanager
async def sides_over(databases: Mapping[str, Backend], seed: int) -> AsyncIterator[list[Side]]:
    async with contextlib.AsyncExitStack() as stack:
        sides = []
        for name, backend in databases.items():
            clock = StepClock(seed)
            bench = await stack.enter_async_context(opened(backend, clock, project=False, limits=LIMITS))
            sides.append(Side(name, backend, bench, clock))
        yield sides
