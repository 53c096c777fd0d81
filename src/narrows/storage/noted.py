"""What a batch notes about workflow runs while its operations are applied, until the turn (`operations/turns.py`)
advances each of them once. Values only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from narrows.core.states import FactKind, RunStatus

#: (project id, workflow run id)
RunKey = tuple[str, str]

#: How the end of a job's run is told to the step that it was started by.
END_OF_RUN: Final = {
    RunStatus.COMPLETED: FactKind.STEP_COMPLETED,
    RunStatus.FAILED: FactKind.STEP_FAILED,
    RunStatus.DEAD_LETTER: FactKind.STEP_FAILED,
    RunStatus.TIMED_OUT: FactKind.STEP_TIMED_OUT,
    RunStatus.CANCELED: FactKind.STEP_CANCELED,
}

#: Stands for the place of an operation while workflow runs are advanced.
TURN: Final = -1


class Noted(NamedTuple):
    """Something that happened to a workflow run, or to one of its steps (`step_ref`).

    `kind` as in `core.workflows.Happened`; of a wait that `is_open` it is the trigger's, and the turn judges.
    `source` is the id of the run, wait group or workflow run that ended: a step whose present attempt is
    another one is not concerned; None where somebody decided it of the step itself. `output` is a JSON text,
    or stands in the payload row `output_id`.
    """

    kind: FactKind
    step_ref: str | None = None
    source: str | None = None
    error: str | None = None
    output: str | None = None
    output_id: str | None = None
    final: bool = False
    is_open: bool = False
    hops: int = 0
    actor: str = "engine"
    entropy: int = 0


class NotAdvancedYet(Exception):
    """An operation wants to see a workflow run of which something has been noted in this batch: it is
    advanced first, then the operation is applied again. Nothing has been saved."""


def step_ref_of(step_id: str) -> str:
    """The step's own name, out of the id of a step of a workflow run."""
    return step_id.partition(":")[2]


class Notes:
    """What one batch has noted, by workflow run. `acting` is the operation (its place in the batch) that is being
    applied, None while the clock settles what is overdue, `TURN` in a turn; `hops` how many messages led to what it does."""

    def __init__(self) -> None:
        self.acting: int | None = None
        self.hops = 0
        #: What operations brought along, worked out beside the writer.
        self.answers: dict[Any, Any] = {}
        #: Wait groups whose outcome is known: closing their other triggers says nothing new.
        self.decided: set[str] = set()
        #: Workflow runs that were advanced already.
        self.advanced: set[RunKey] = set()
        self._of_runs: dict[RunKey, list[Noted]] = {}
        self._tickets: dict[RunKey, set[int | None]] = defaultdict(set)

    def act(self, place: int | None) -> None:
        """Another operation is applied from now on."""
        self.acting = place
        self.hops = 0

    @contextmanager
    def reached_by(self, hops: int) -> Iterator[None]:
        """What is noted within comes of a chain of so many messages."""
        before, self.hops = self.hops, max(self.hops, hops)
        try:
            yield
        finally:
            self.hops = before

    def add(self, key: RunKey, noted: Noted) -> None:
        self._of_runs.setdefault(key, []).append(noted._replace(hops=max(noted.hops, self.hops)))
        if self.acting != TURN:  # what follows in a turn comes of what was noted before it
            self._tickets[key].add(self.acting)

    def are_pending(self, key: RunKey) -> bool:
        return key in self._of_runs

    def take(self) -> dict[RunKey, list[Noted]]:
        """All that was noted since this was asked last."""
        taken, self._of_runs = self._of_runs, {}
        self.advanced.update(taken)
        return taken

    def take_of(self, key: RunKey) -> list[Noted]:
        """The same of one workflow run alone."""
        return self._of_runs.pop(key, [])

    def noted_by(self, key: RunKey) -> frozenset[int | None]:
        """Which operations of the batch had a part in what happened to a workflow run."""
        return frozenset(self._tickets[key])


class TurnAsks(Exception):
    """To go on, workflow runs need answers that are worked out beside the writer: `questions` of each, and by
    which operations of the batch they came to need them."""

    def __init__(self, asked: Mapping[RunKey, Sequence[Any]], notes: Notes) -> None:
        super().__init__(f"{sum(map(len, asked.values()))} questions")
        self._asked = [(notes.noted_by(key), tuple(questions)) for key, questions in asked.items()]

    def of(self, ticket: int) -> tuple[Any, ...]:
        """The questions that an operation has to come back with; empty if it has no part in any. Whatever the
        clock brought about concerns every operation, since it was loaded for some of them."""
        found = [
            questions
            for tickets, questions in self._asked
            if ticket in tickets or None in tickets or not tickets
        ]
        return tuple(dict.fromkeys(question for questions in found for question in questions))
