"""The planted bugs of workflows: as `bugs.py`, whose table they join."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from narrows.core import step_waits, workflows
from narrows.core.states import STEP_TRANSITIONS, FactKind, MessageKind, StepStatus, WorkflowRunStatus
from narrows.operations import carrying_out, taking_in
from narrows.operations.advancing import Root
from narrows.operations.messages import MessageOperation
from narrows.operations.service import Service
from narrows.operations.turns import Turns
from narrows.storage import following
from narrows.storage.noted import Notes
from tests.simulation.bugs import Planting, bug
from tests.simulation.run_bugs import BUGS

__all__ = ["BUGS", "OF_WORKFLOWS"]

_OF_OTHERS = frozenset(BUGS)


@bug
def events_lost_in_one_batch(planting: Planting) -> None:
    """Of two that arrive for a workflow run in one batch only the last counts."""
    strict = Notes.add

    def add(self: Notes, key: Any, noted: Any) -> None:
        self._of_runs.pop(key, None)
        strict(self, key, noted)

    planting.replace(Notes, "add", add)


@bug
def advanced_in_another_commit(planting: Planting) -> None:
    """5. An event is taken in one commit, and the workflow run goes on in the next."""
    left: list[Any] = []
    strict, perform_strictly = Turns.run, Service.perform

    class GoOn:
        """The second commit."""

        background, size_bytes, trigger = True, 0, None

        def touches(self) -> list[Any]:
            return []

        def apply(self, tx: Any) -> None:
            while left:
                key, noted = left.pop(0)
                tx.notes.add(key, noted)
            tx.is_second = True

    def run(self: Turns, tx: Any) -> Iterator[Any]:
        if hasattr(tx, "is_second"):
            yield from strict(self, tx)
        else:
            left.extend((key, each) for key, noted in tx.notes.take().items() for each in noted)

    async def perform(self: Service, operation: Any) -> Any:
        outcome = await perform_strictly(self, operation)
        while left:
            await perform_strictly(self, GoOn())
        return outcome

    planting.replace(Turns, "run", run)
    planting.replace(Service, "perform", perform)


@bug
def loser_of_a_step_left_waiting(planting: Planting) -> None:
    """10. The wait of a step is over, and its other triggers stay waiting."""

    def decide(tx: Any, group: Any, reason: str, actor: str, entropy: int) -> None:
        tx.notes.decided.add(group.id)

    for owner in (following, taking_in):
        planting.replace(owner, "decide", decide)


@bug
def canceled_workflow_leaves_a_run(planting: Planting) -> None:
    """10. A workflow run ends, and the runs of its steps go on."""
    planting.replace(carrying_out, "cancel_run", lambda tx, run, reason, actor, entropy: run)


@bug
def message_consumed_twice(planting: Planting) -> None:
    """A message is taken away in another commit than what it asks for is done in."""
    strict, done = MessageOperation.consume, set[str]()

    def consume(self: MessageOperation, tx: Any) -> None:
        if self.message.id in done:
            strict(self, tx)
        done.add(self.message.id)

    planting.replace(MessageOperation, "consume", consume)


@bug
def sub_workflow_outlives_its_step(planting: Planting) -> None:
    """A step ends another way, and nobody tells its sub-workflow."""
    strict = Root.send

    def send(self: Root, kind: Any, *arguments: Any, **options: Any) -> None:
        if kind != MessageKind.CANCEL_WORKFLOW_RUN:
            strict(self, kind, *arguments, **options)

    planting.replace(Root, "send", send)


@bug
def parked_wait_counts_as_runnable(planting: Planting) -> None:
    """8. When a sibling ends, a wait that is parked is started again."""
    planting.replace(workflows, "_QUEUED", frozenset({StepStatus.QUEUED, StepStatus.WAITING}))
    edge = (StepStatus.WAITING, FactKind.STEP_WAITING)
    STEP_TRANSITIONS[edge] = StepStatus.WAITING
    planting.at_the_end(lambda: STEP_TRANSITIONS.pop(edge))


@bug
def paused_workflow_starts_steps(planting: Planting) -> None:
    """What becomes due while a workflow run is paused starts."""
    strict = workflows._Work._start

    def start(self: Any) -> None:
        status, self._status = self._status, WorkflowRunStatus.RUNNING
        strict(self)
        self._status = status

    planting.replace(workflows._Work, "_start", start)


@bug
def dependents_skipped_one_deep(planting: Planting) -> None:
    """Of a step that has failed only the next ones are skipped; those behind them have their turn."""
    planting.replace(
        workflows._Work, "_descendants", lambda self, step: self._definition.graph.dependents[step]
    )


@bug
def enough_events_outvote_a_veto(planting: Planting) -> None:
    """A veto that comes together with the last event that is needed is not asked for."""
    strict = step_waits.judge

    def judge(needed: int, distinct_by: Any, parts: Any) -> Any:
        unasked = [part._replace(ballot=part.ballot._replace(vetoed=False)) for part in parts]
        standing = strict(needed, distinct_by, unasked)
        return strict(needed, distinct_by, parts) if standing is None else standing

    planting.replace(step_waits, "judge", judge)


@bug
def one_voter_votes_twice(planting: Planting) -> None:
    """The same approval again counts as another one."""

    def vote(approval: Any, votes: Any, new: Any) -> Any:
        return (*votes, new)

    planting.replace(step_waits, "vote", vote)


@bug
def pause_between_attempts_never_ends(planting: Planting) -> None:
    """The end of the pause is taken for late news of the attempt before."""
    strict = taking_in._is_of_this_attempt

    def is_of_this_attempt(news: Any) -> bool:
        return strict(news) and news.row.status != StepStatus.DELAYED

    planting.replace(taking_in, "_is_of_this_attempt", is_of_this_attempt)


@bug
def failed_output_is_seen(planting: Planting) -> None:
    """What gave nothing that could be used is seen by the steps that start in the commit of its end."""
    planting.replace(Root, "keep_outputs", lambda self, letters: None)


@bug
def hops_begin_anew(planting: Planting) -> None:
    """Nobody counts how many messages led to a workflow run, so that a circle of emits never ends."""
    strict = Notes.add

    def add(self: Notes, key: Any, noted: Any) -> None:
        before, self.hops = self.hops, 0
        strict(self, key, noted._replace(hops=0))
        self.hops = before

    planting.replace(Notes, "add", add)


#: Those that no seed without workflows can find.
OF_WORKFLOWS = frozenset(BUGS) - _OF_OTHERS
