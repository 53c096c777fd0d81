"""The turn: every workflow run of which a batch has noted something is advanced, once, in the batch's own commit.

    noted -> what has happened -> `core.workflows.advance` -> facts, rows, what is closed, what starts

It goes round until nothing more follows: a step that fails to start, or a held event that ends a wait as it
begins, is noted like anything else. Each workflow run is a generator that yields what it needs loaded; those of
one batch go side by side, so that each round trip serves all of them.

Answers that are worked out beside the writer (conditions, vetoes, `output_transform`) are found by what they
were asked about, so that they cannot be stale. One that is missing ends the turn with `TurnAsks`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Final, Protocol

from narrows.core import workflows as rules
from narrows.core.states import WORKFLOW_RUN_ENDED
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import WorkflowVersion
from narrows.core.workflows import Advance, Happened
from narrows.errors import LimitReached, TooMuchFollows
from narrows.operations.advancing import Root
from narrows.operations.carrying_out import carry_out
from narrows.operations.questions import ConditionQuestion, DefinitionQuestion
from narrows.operations.taking_in import take_in
from narrows.storage.lookups import Touch
from narrows.storage.noted import Noted, RunKey, TurnAsks
from narrows.storage.operation import Undecided
from narrows.storage.transaction import Transaction

Turn = Generator[list[Touch], None, None]

#: So many changes one commit takes where several workflow runs advance in it: one or two seconds of the writer's
#: time. (What one of them does alone has bounds of its own.)
MAX_CHANGES: Final = 100_000


class Definitions(Protocol):
    """Parsed definitions, kept."""

    def known(self, project_id: str, workflow_id: str, version: int) -> Definition | None: ...

    def parsed(self, version: WorkflowVersion, *, keep: bool = True) -> Definition: ...


class Turns:
    """Hands the writer what has to be loaded, and goes on when it is at hand."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def run(self, tx: Transaction) -> Iterator[list[Touch]]:
        """Raises TurnAsks, with the questions of all that could not go on."""
        while noted := tx.notes.take():
            asked: dict[RunKey, Sequence[object]] = {}
            turns = {key: self._turn(tx, key, what) for key, what in noted.items()}
            while turns:
                touches: list[Touch] = []
                for key, turn in list(turns.items()):
                    try:
                        touches += next(turn)
                    except StopIteration:
                        del turns[key]
                        _check_room(tx)
                    except Undecided as undecided:
                        asked[key] = undecided.questions
                        del turns[key]
                if turns:
                    yield touches
            if asked:
                raise TurnAsks(asked, tx.notes)

    def _turn(self, tx: Transaction, key: RunKey, noted: Sequence[Noted]) -> Turn:
        yield [("workflow_runs_by_id", *key), ("roots_by_id", *key)]
        run = tx.workflow_run(*key)
        if run is None or run.status in WORKFLOW_RUN_ENDED:
            return  # what comes after the end concerns nobody
        # That its time is over may be seen only now that it is loaded. It was so before anything of this batch happened:
        # how late the timer is, nobody may see, and which operations load the run beforehand makes no difference.
        noted = [*tx.notes.take_of(key), *noted]
        version = (run.workflow_id, run.workflow_version)
        definition = self._definitions.known(run.project_id, *version)
        if definition is None:
            yield [("workflow_versions_by_id", run.project_id, run.workflow_id, str(run.workflow_version))]
            kept = tx.workflow_version(run.project_id, *version)
            assert kept is not None, "a version goes after its last run"
            definition = self._read(tx, kept)
        root = Root(tx, run, definition, noted)
        happened = yield from take_in(root, noted)
        if happened:
            advance = yield from _advance(root, happened)
            yield from carry_out(root, advance)

    def _read(self, tx: Transaction, version: WorkflowVersion) -> Definition:
        """A definition that is not at hand (after a restart, of another node) takes up to seconds to read, so that it
        is asked for. Raises Undecided."""
        if not tx.is_stored(version):
            # Made in this very batch: it may yet be given up.
            return self._definitions.parsed(version, keep=False)
        question = DefinitionQuestion(version)
        if question not in tx.notes.answers:
            raise Undecided([question])
        found: Definition = tx.notes.answers[question]
        return found


def _check_room(tx: Transaction) -> None:
    """Raise TooMuchFollows where several workflow runs change too much for one commit."""
    count = len(tx.notes.advanced)
    if tx.changes > MAX_CHANGES and count > 1:
        raise TooMuchFollows(
            f"More follows in {count} workflow runs than one commit takes. Ask for less at once: fewer events in one "
            "request."
        )


def _advance(root: Root, happened: Sequence[Happened]) -> Generator[list[Touch], None, Advance]:
    """What follows, with the answers to all conditions that have to be asked for it. Raises Undecided."""
    definition, run = root.definition, root.run
    advance = rules.advance(definition, run.status, run.steps, happened)
    if advance.questions:
        inquiry = rules.Inquiry(definition, run.status, run.steps, happened)
        while inquiry.questions:
            root.keep_outputs(inquiry.steps)
            asked = yield from _conditions(root, inquiry)
            root.ask(question for question in asked.values() if not isinstance(question, str))
            inquiry.tell(
                {
                    step: question if isinstance(question, str) else root.answer(question)
                    for step, question in asked.items()
                }
            )
        advance = rules.advance(definition, run.status, run.steps, happened, inquiry.answers)
        assert not advance.questions, "the same would be asked for it from the start"
    root.keep_outputs(advance.steps)
    return advance


def _conditions(
    root: Root, inquiry: rules.Inquiry
) -> Generator[list[Touch], None, Mapping[int, ConditionQuestion | str]]:
    """The conditions that have to be asked, each with what it may look at; of one that looks at too much, a sentence
    without a subject that says so."""
    definition, letters = root.definition, inquiry.steps
    needed = {step: root.seen_by(step, definition.steps[step].condition_steps) for step in inquiry.questions}
    seen = {other for steps in needed.values() for other in steps}
    yield from root.load_outputs(seen, payload=True, budget=root.asking)
    asked: dict[int, ConditionQuestion | str] = {}
    for step, steps in needed.items():
        condition = definition.steps[step].condition or ""
        try:
            asked[step] = root.question(condition, root.payload(), steps, letters)
        except LimitReached as fault:
            asked[step] = f"cannot be told: {fault.message}"
    return asked
