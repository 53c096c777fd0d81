"""One sequence: step after step is asked of every side and of the model, and after each of them all have to
agree. The same seed gives the same sequence, whatever databases are compared."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from narrows.errors import Refusal
from tests.differential.choosing import steps_of
from tests.differential.comparing import Difference, check, check_answers, check_commits, check_rows
from tests.differential.oracle import Oracle
from tests.differential.scene import Scene
from tests.differential.sides import Commit, Side, databases_in, sides_over
from tests.differential.steps import Read, Step, names_of
from tests.simulation.limits import small_limits
from tests.simulation.values import Violation
from tests.storage.kit import BACKENDS, Backend

#: After so many steps all rows of all tables are compared, and with the model.
EVERY = 50
#: No power is cut here: a file system in memory, where there is one, takes half the time.
MEMORY = next((each for each in ("/dev/shm",) if os.access(each, os.W_OK)), None)
#: Steps that are told of a sequence that failed.
TOLD = 12
#: Changes a side, so that the comparison can be seen to fail.
Plant = Callable[[Sequence[Side]], None]


@dataclass
class Report:
    """What a sequence was made of: the reads that were asked, the operations that were committed or refused."""

    steps: int = 0
    commits: int = 0
    reads: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    #: How often a side began a commit anew.
    begun_again: Counter[str] = field(default_factory=Counter, compare=False)

    def count(self, step: Step, commits: Sequence[Commit]) -> None:
        self.steps += 1
        self.commits += len(commits)
        if isinstance(step.asked, Read):
            self.reads[step.asked.name] += 1
        for commit in commits:
            for operation, outcome in zip(commit.operations, commit.outcomes, strict=True):
                self.operations.update(names_of(operation))
                if isinstance(outcome.error, Refusal):
                    self.refused[outcome.error.code] += 1

    def add(self, other: Report) -> None:
        self.steps += other.steps
        self.commits += other.commits
        self.reads.update(other.reads)
        self.operations.update(other.operations)
        self.refused.update(other.refused)
        self.begun_again.update(other.begun_again)


class Found(AssertionError):
    """A difference, at a step of a sequence."""

    def __init__(self, seed: int, steps: Sequence[Step], problem: BaseException) -> None:
        self.seed = seed
        self.steps = tuple(steps)
        self.problem = problem
        last = self.steps[-1]
        trail = "\n".join(map(str, self.steps[-TOLD:-1]))
        super().__init__(
            f"seed {seed}, step {last.number}, {last.asked.name}: {problem}\n\n"
            f"the last steps before it:\n{trail}\n\nand it:\n{last}\n\n"
            f"replay: python -m tests.differential --seed {seed} --steps {last.number}"
        )


class Comparison:
    """The sides and the model of one sequence."""

    def __init__(self, sides: Sequence[Side], oracle: Oracle) -> None:
        self.sides = sides
        self.oracle = oracle
        self.report = Report()

    async def take(self, step: Step) -> None:
        """Ask everybody. Raises Difference or Violation."""
        for side in self.sides:
            side.begin(step.number, step.after_us)
        answers = await asyncio.gather(*(step.asked.of(side.bench) for side in self.sides))
        check_answers(self.sides, answers)
        check_commits(self.sides)
        first = self.sides[0]
        _check_that_nothing_broke(answers[0])
        for commit in first.commits:
            self.oracle.take(commit)
        places = set().union(*(side.places() for side in self.sides))
        if places and len(self.sides) > 1:
            rows = await asyncio.gather(*(side.rows_at(places) for side in self.sides))
            check_rows(self.sides, rows)
        self.report.count(step, first.commits)
        self.report.begun_again.update({side.name: side.begun_again for side in self.sides})

    async def look_at_everything(self) -> None:
        rows = await asyncio.gather(*(side.everything() for side in self.sides))
        check_rows(self.sides, rows)
        self.oracle.check(rows[0])

    def verify(self) -> None:
        """`narrows verify` finds nothing wrong with any side."""
        for side in self.sides:
            check([], side.backend.faults(), f"what is wrong with {side.name}")


def _check_that_nothing_broke(answer: Any) -> None:
    for each in answer if isinstance(answer, list) else [answer]:
        if isinstance(each, Exception) and not isinstance(each, Refusal):
            raise Difference(f"it failed on every side: {each!r}") from each


async def run(
    seed: int,
    steps: int | Sequence[Step],
    databases: Mapping[str, Backend],
    *,
    plant: Plant | None = None,
    every: int = EVERY,
    closely_after: int | None = None,
) -> Report:
    """So many steps of the seed's sequence, or exactly these steps. Everything is compared `every` so many
    steps, and after each one that follows on `closely_after`. Raises Found."""
    oracle = Oracle()
    scene = Scene(seed, oracle)
    taken: list[Step] = []
    async with sides_over(databases, seed) as sides:
        if plant is not None:
            plant(sides)
        comparison = Comparison(sides, oracle)
        try:
            for step in _these(scene, steps):
                taken.append(step)
                await comparison.take(step)
                _hear(scene, sides[0])
                closely = closely_after is not None and step.number > closely_after
                if closely or step.number % every == 0:
                    await comparison.look_at_everything()
            await comparison.look_at_everything()
            comparison.verify()
        except (Difference, Violation) as problem:
            raise Found(seed, taken, problem) from problem
        return comparison.report


def _these(scene: Scene, steps: int | Sequence[Step]) -> Iterable[Step]:
    if not isinstance(steps, int):
        return steps
    return (step for _, step in zip(range(steps), steps_of(scene), strict=False))


def _hear(scene: Scene, side: Side) -> None:
    for commit in side.commits:
        scene.hear(commit.committed)
    scene.unmatched.extend(side.bench.sink.events)


def once(
    seed: int, steps: int | Sequence[Step], names: Iterable[str] = tuple(BACKENDS), **options: Any
) -> Report:
    """Run a sequence over empty databases. Raises Found."""
    with contextlib.ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="narrows-differential-", dir=MEMORY)
        databases = stack.enter_context(databases_in(Path(stack.enter_context(place)), names))
        stack.enter_context(small_limits())
        stack.enter_context(_quiet())
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return runner.run(run(seed, steps, databases, **options))


def examine(
    seed: int,
    steps: int,
    names: Iterable[str] = tuple(BACKENDS),
    *,
    plant: Plant | None = None,
    every: int = EVERY,
) -> Report:
    """The same. A sequence that fails is run once more, closely, so that the very step is told after which
    something was wrong."""
    try:
        return once(seed, steps, names, plant=plant, every=every)
    except Found as problem:
        found = problem
    last = found.steps[-1].number
    once(seed, last, names, plant=plant, every=every, closely_after=last - every - 1)
    found.add_note("It did not fail again: there is chance in it that does not come from the seed.")
    raise found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the writer says of a batch that it has to split is of no interest here."""
    ours = logging.getLogger("narrows")
    level = ours.level
    ours.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        ours.setLevel(level)
