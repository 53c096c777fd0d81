"""How a workflow run advances: one pure function from (definition, states of all steps, what happened) to
(new states, what to start, what to close, what to record).

    what happened, all of it -> ends -> what follows from bad ends -> whose turn it is -> starts -> the end

Everything is told from the states, nothing is counted on the side: a step's turn comes when all that it
depends on has ended, however it ended. What happened in one commit is taken in first, and only then does
anything follow from it, so that the order of events within a commit makes no difference. It costs what
changes and what starts, not what there is: sets of steps are bit masks (`graphs.py`).

Conditions are worked out elsewhere and come in as answers; what is missing comes out as questions. Not here:
when a wait of several events is reached (`step_waits.py`), and everything that needs a payload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from narrows.core.graphs import mask, members, reachable
from narrows.core.states import (
    STEP_BEGUN,
    STEP_ENDED,
    STEP_ENDED_BADLY,
    STEP_LIVE,
    STEP_STARTABLE,
    WORKFLOW_RUN_ENDED,
    FactKind,
    OnFailure,
    StepStatus,
    WorkflowRunStatus,
    next_step_status,
    next_workflow_run_status,
)
from narrows.core.step_states import StepStates
from narrows.core.workflow_definitions import Definition

CONDITION_FALSE: Final = "its condition is false"
DEPENDENCY_FAILED: Final = "the step {!r}, which it depends on, {}"
WORKFLOW_ENDED: Final = "its workflow run has ended"
SKIPPED_BY_USER: Final = "skipped by user"
#: So many steps are named in the error of a workflow run.
MAX_NAMED: Final = 5

_QUEUED: Final = frozenset({StepStatus.QUEUED})
_SKIPPED: Final = frozenset({StepStatus.SKIPPED})
_AT_WORK: Final = (StepStatus.RUNNING, StepStatus.WAITING)
_SWITCH: Final = {
    WorkflowRunStatus.RUNNING: FactKind.WORKFLOW_RUN_PAUSED,
    WorkflowRunStatus.PAUSED: FactKind.WORKFLOW_RUN_RESUMED,
}
_BAD_WORDS: Final = {
    FactKind.STEP_FAILED: "failed",
    FactKind.STEP_TIMED_OUT: "ran out of time",
    FactKind.STEP_CANCELED: "was canceled",
}
_ENDS_OF_WORK: Final = (FactKind.STEP_COMPLETED, *_BAD_WORDS)


class Happened(NamedTuple):
    """Something that happened to a step, or (`step` None) to the workflow run itself.

    Of a step: `step.completed`, `step.failed`, `step.timed_out`, `step.canceled` say how its work of this
    `attempt` ended (`final`: it is not tried again, whatever attempts are left); `step.due` that the pause before the next attempt is over; `step.skipped` and
    `step.reopened` (a retry) that a person wants it. Of the run: `workflow_run.created`, `.paused`,
    `.resumed`, `.canceled`, `.timed_out`.
    """

    kind: FactKind
    step: int | None = None
    attempt: int = 1
    error: str | None = None
    final: bool = False


class Change(NamedTuple):
    """One fact to record: a step (None: the workflow run) has become `status`. With `by_default` the step
    timed out and completes with what its definition says for that."""

    step: int | None
    kind: FactKind
    status: StepStatus | WorkflowRunStatus
    error: str | None = None
    by_default: bool = False


class Advance(NamedTuple):
    """What follows. With `questions` (steps whose conditions must be answered) nothing else counts: ask again
    with the answers. `starts` are to be started now; whatever belongs to `closes` is to be closed: open
    triggers, runs, sub-workflows, pauses."""

    status: WorkflowRunStatus
    steps: str
    changes: tuple[Change, ...]
    starts: tuple[int, ...]
    closes: tuple[int, ...]
    questions: tuple[int, ...]


#: Of a step's condition: what it is, or a sentence without a subject that says why it cannot be told.
Answer = bool | str
NO_ANSWERS: Final[Mapping[int, Answer]] = {}


def advance(
    definition: Definition,
    status: WorkflowRunStatus,
    steps: str,
    happened: Sequence[Happened],
    answers: Mapping[int, Answer] = NO_ANSWERS,
) -> Advance:
    """The workflow run after all that `happened` in one commit. What comes late, twice, or to a step that it
    cannot concern changes nothing."""
    work = _Work(definition, status, steps, answers)
    if status not in WORKFLOW_RUN_ENDED:
        for each in happened:
            work.take(each)
        work.follow()
    return work.result()


class Inquiry:
    """What has to be asked for an advance, as far as it can be told: the answers to `questions` may lead to others. It goes
    on from where it stood, where `advance` would begin at the start for each link of a chain. `steps` is how they
    stand by what is known so far."""

    def __init__(
        self, definition: Definition, status: WorkflowRunStatus, steps: str, happened: Sequence[Happened]
    ) -> None:
        self.answers: dict[int, Answer] = {}
        self._work = _Work(definition, status, steps, self.answers)
        for each in happened:
            self._work.take(each)
        self._work.look()

    @property
    def questions(self) -> tuple[int, ...]:
        return self._work.questions

    @property
    def steps(self) -> str:
        return self._work.letters

    def tell(self, answers: Mapping[int, Answer]) -> None:
        self.answers |= answers
        self._work.go_on(mask(answers))


def may_happen(status: StepStatus, kind: FactKind) -> bool:
    """Whether a person may ask for this of a step in such a state: `step.skipped` of one that lives,
    `step.reopened` of one that has ended badly."""
    if kind == FactKind.STEP_REOPENED:
        return status in STEP_ENDED_BADLY
    return status in STEP_LIVE


def coming(definition: Definition, steps: str, happened: Sequence[int], *, begins: bool) -> list[int]:
    """The steps whose turn comes if the work of those that something `happened` to has ended by it, so that what
    they need can be at hand in time; `begins`: the workflow run has just been made. Nothing else hangs on it."""
    states = StepStates(steps)
    ended = states.those(STEP_ENDED) | mask(happened)
    near = definition.graph.everything if begins else 0
    for step in happened:
        near |= definition.graph.dependents[step]
    dependencies = definition.graph.dependencies
    return [step for step in members(near & ~ended) if not dependencies[step] & ~ended]


class _Work:
    """The states while they change, and what comes out."""

    def __init__(
        self, definition: Definition, status: WorkflowRunStatus, steps: str, answers: Mapping[int, Answer]
    ) -> None:
        self._definition = definition
        self._status = status
        self._answers = answers
        self._states = StepStates(steps)
        self._ended = self._states.those(STEP_ENDED)
        self._touched = 0  # whose dependencies may all have ended now
        self._turn = 0  # whose turn has come just now
        self._failures: list[Change] = []
        self._ending: tuple[FactKind, str | None] | None = None
        self._changes: list[Change] = []
        self._starts: list[int] = []
        self._closes: list[int] = []
        self._questions = 0

    def result(self) -> Advance:
        return Advance(
            status=self._status,
            steps=self.letters,
            changes=tuple(self._changes),
            starts=tuple(self._starts),
            closes=tuple(self._closes),
            questions=self.questions,
        )

    @property
    def letters(self) -> str:
        return self._states.letters

    @property
    def questions(self) -> tuple[int, ...]:
        return tuple(members(self._questions))

    # ---- what happened ---------------------------------------------------------------------

    def take(self, happened: Happened) -> None:
        kind, step = happened.kind, happened.step
        if step is None:
            self._take_of_run(kind, happened.error)
        elif kind == FactKind.STEP_REOPENED:
            self._reopen(step)
        elif kind == FactKind.STEP_SKIPPED and self._states.at(step) in STEP_LIVE:
            self._end(step, kind, happened.error or SKIPPED_BY_USER, close=True)
        elif kind == FactKind.STEP_DUE and self._states.at(step) == StepStatus.DELAYED:
            self._set(step, kind)
        elif kind in _ENDS_OF_WORK and self._states.at(step) in _AT_WORK:
            self._take_end(step, happened)

    def _take_of_run(self, kind: FactKind, error: str | None) -> None:
        if kind == FactKind.WORKFLOW_RUN_CREATED:
            self._touched |= self._definition.graph.everything
        elif kind in (FactKind.WORKFLOW_RUN_CANCELED, FactKind.WORKFLOW_RUN_TIMED_OUT):
            self._ending = self._ending or (kind, error)
        elif kind == _SWITCH.get(self._status):
            self._become(kind, error)

    def _take_end(self, step: int, happened: Happened) -> None:
        """The work of a step has ended: it is done, is tried again, or has ended badly."""
        definition, kind = self._definition.steps[step], happened.kind
        final = happened.final or kind == FactKind.STEP_CANCELED
        if kind == FactKind.STEP_COMPLETED:
            self._end(step, kind)
        elif not final and happened.attempt < definition.attempts:
            self._set(step, FactKind.STEP_RETRIED, happened.error)
        elif kind == FactKind.STEP_TIMED_OUT and definition.default_output is not None:
            self._end(step, FactKind.STEP_COMPLETED, happened.error, by_default=True)
        else:
            self._failures.append(self._end(step, kind, happened.error))

    def _reopen(self, step: int) -> None:
        """A retry: the step's turn comes again, and so does that of the steps which were skipped for it, unless
        another failure keeps them skipped. (One that a person or its condition skipped is asked again, too.)"""
        if self._states.at(step) not in STEP_ENDED_BADLY:
            return
        self._set(step, FactKind.STEP_REOPENED)
        blocked = 0
        for other in members(self._states.those(STEP_ENDED_BADLY) & self._definition.skipping):
            blocked |= self._descendants(other)
        skipped = self._descendants(step) & self._states.those(_SKIPPED) & ~blocked
        for each in members(skipped):
            self._set(each, FactKind.STEP_REOPENED)
        self._ended &= ~(skipped | 1 << step)
        self._touched |= skipped | 1 << step

    # ---- what follows ----------------------------------------------------------------------

    def look(self) -> None:
        """Whose turn has come, as far as that can be told."""
        # In the order of the definition: which event came first within a commit makes no difference.
        for failure in sorted(self._failures, key=lambda change: change.step or 0):
            self._follow_failure(failure)
        if self._ending is None:
            self._release()

    def go_on(self, answered: int) -> None:
        """The same, with answers to some of the questions."""
        self._questions &= ~answered
        self._touched |= answered
        self._release()

    def follow(self) -> None:
        self.look()
        if self._questions:
            return
        if self._ending is None and self._ended == self._definition.graph.everything:
            self._ending = self._outcome()
        if self._ending is not None:
            self._finish(*self._ending)
        else:
            self._start()

    def _follow_failure(self, failure: Change) -> None:
        step = failure.step or 0
        if self._states.at(step) != failure.status:
            return  # somebody retried it in the same commit
        definition, words = self._definition.steps[step], _BAD_WORDS[failure.kind]
        if definition.on_failure == OnFailure.FAIL_WORKFLOW:
            sentence = f"the step {definition.ref!r} {words}"
            error = sentence if failure.error is None else f"{sentence}: {failure.error}"
            self._ending = self._ending or (FactKind.WORKFLOW_RUN_FAILED, error)
        elif definition.on_failure == OnFailure.SKIP_DEPENDENTS:
            # All of them at once, however far: none may have its turn because the one between was skipped.
            for each in members(self._descendants(step) & self._states.those(STEP_STARTABLE)):
                self._end(each, FactKind.STEP_SKIPPED, DEPENDENCY_FAILED.format(definition.ref, words))

    def _release(self) -> None:
        """Whoever depends on nothing but what has ended: its turn has come, unless its condition is false.
        To be skipped is an end like any other, after which others may have their turn."""
        dependencies = self._definition.graph.dependencies
        while self._touched:
            candidates, self._touched = self._touched & ~self._ended, 0
            for step in members(candidates):
                if not dependencies[step] & ~self._ended and self._states.at(step) == StepStatus.PENDING:
                    self._decide(step)

    def _decide(self, step: int) -> None:
        answer: Answer | None = True
        if self._definition.conditional >> step & 1:
            answer = self._answers.get(step)
        if answer is None:
            self._questions |= 1 << step
        elif answer is True:
            self._turn |= 1 << step
        elif answer is False:
            self._end(step, FactKind.STEP_SKIPPED, CONDITION_FALSE)
        else:
            self._follow_failure(self._end(step, FactKind.STEP_FAILED, f"its condition {answer}"))

    def _start(self) -> None:
        """Start every wait whose turn it is, and whatever runs as far as there are places; while the workflow
        run is paused nothing. What cannot start is queued."""
        started = 0
        if self._status == WorkflowRunStatus.RUNNING:
            turn, executing = self._states.those(_QUEUED) | self._turn, self._definition.executing
            limit = self._definition.max_parallel_steps or len(self._states)
            places = max(0, limit - self._states.count(StepStatus.RUNNING))
            started = turn & ~executing | mask(islice(members(turn & executing), places))
        for step in members(started):
            runs = self._definition.executing >> step & 1
            self._set(step, FactKind.STEP_STARTED if runs else FactKind.STEP_WAITING)
            self._starts.append(step)
        for step in members(self._turn & ~started):
            self._set(step, FactKind.STEP_QUEUED)

    def _outcome(self) -> tuple[FactKind, str | None]:
        """How a workflow run ends of which every step has ended."""
        bad = list(members(self._states.those(STEP_ENDED_BADLY) & ~self._definition.going_on))
        if not bad:
            return FactKind.WORKFLOW_RUN_COMPLETED, None
        refs = ", ".join(repr(self._definition.steps[step].ref) for step in bad[:MAX_NAMED])
        more = f" and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
        return FactKind.WORKFLOW_RUN_FAILED, f"not all steps ended well: {refs}{more}"

    def _finish(self, kind: FactKind, error: str | None) -> None:
        """The workflow run ends, and with it whatever of it still lives. Of steps that never began there is
        nothing to tell and nothing to close."""
        for step in members(self._states.those(STEP_BEGUN)):
            self._end(step, FactKind.STEP_CANCELED, WORKFLOW_ENDED, close=True)
        self._states.replace(STEP_STARTABLE, StepStatus.CANCELED)
        self._become(kind, error)

    # ---- states ----------------------------------------------------------------------------

    def _descendants(self, step: int) -> int:
        return reachable(self._definition.graph.dependents, step)

    def _become(self, kind: FactKind, error: str | None) -> None:
        self._status = next_workflow_run_status(self._status, kind)
        self._changes.append(Change(None, kind, self._status, error))

    def _set(self, step: int, kind: FactKind, error: str | None = None, by_default: bool = False) -> Change:
        status = next_step_status(self._states.at(step), kind)
        self._states.put(step, status)
        change = Change(step, kind, status, error, by_default)
        self._changes.append(change)
        return change

    def _end(
        self,
        step: int,
        kind: FactKind,
        error: str | None = None,
        *,
        by_default: bool = False,
        close: bool = False,
    ) -> Change:
        if close and self._states.at(step) in STEP_BEGUN:
            self._closes.append(step)
        self._ended |= 1 << step
        self._touched |= self._definition.graph.dependents[step]
        return self._set(step, kind, error, by_default)
