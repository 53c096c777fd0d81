"""Random workflows with random histories, told by the rules and by a slow reference: the same in the end.

And what must hold of any history: nothing stalls, nothing starts twice, the order of events within a commit
makes no difference, and what comes again or late changes nothing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.core.states import (
    STEP_LIVE,
    WORKFLOW_RUN_ENDED,
    FactKind,
    StepStatus,
    WorkflowRunStatus,
)
from narrows.core.step_states import fresh, statuses
from narrows.core.workflow_definitions import Definition, parse
from narrows.core.workflow_fields import TRUSTED
from narrows.core.workflows import Advance, Answer, Happened, Inquiry, advance
from tests.core.slow_workflows import Event, SlowRun, SlowStep

#: A campaign takes many more.
EXAMPLES = int(os.environ.get("NARROWS_WORKFLOW_EXAMPLES", "150"))

KINDS = {
    "completed": FactKind.STEP_COMPLETED,
    "failed": FactKind.STEP_FAILED,
    "timed_out": FactKind.STEP_TIMED_OUT,
    "canceled": FactKind.STEP_CANCELED,
    "skipped": FactKind.STEP_SKIPPED,
    "retry": FactKind.STEP_REOPENED,
    "due": FactKind.STEP_DUE,
}
RUN_KINDS = {
    "paused": FactKind.WORKFLOW_RUN_PAUSED,
    "resumed": FactKind.WORKFLOW_RUN_RESUMED,
    "canceled": FactKind.WORKFLOW_RUN_CANCELED,
    "timed_out": FactKind.WORKFLOW_RUN_TIMED_OUT,
}
POLICIES = ["fail_workflow", "skip_dependents", "continue"]


@st.composite
def workflows(draw: st.DrawFn) -> tuple[list[SlowStep], int]:
    """Steps in an order of their own, and how many may run at a time."""
    count = draw(st.integers(1, 9))
    ranks = draw(st.permutations(range(count)))
    policies = draw(st.sampled_from([POLICIES, POLICIES[1:], POLICIES[2:]]))
    steps = []
    for place in range(count):
        lower = [other for other in range(count) if ranks[other] < ranks[place]]
        after = draw(st.lists(st.sampled_from(lower), unique=True, max_size=4)) if lower else []
        steps.append(
            SlowStep(
                f"s{place}",
                tuple(f"s{each}" for each in after),
                draw(st.booleans()),
                draw(st.integers(0, 3)) == 0,
                draw(st.sampled_from(policies)),
                draw(st.sampled_from([1, 1, 2])),
                draw(st.integers(0, 4)) == 0,
            )
        )
    return steps, draw(st.sampled_from([0, 0, 1, 2]))


def _definition(steps: Sequence[SlowStep], places: int) -> Definition:
    given: list[dict[str, Any]] = [
        {
            "step_ref": step.name,
            "depends_on": list(step.after),
            **({"job_slug": "j"} if step.executes else {"type": "wait_for_event", "event_key": "k"}),
            **({"condition": "true"} if step.conditional else {}),
            "on_failure": step.on_failure,
            "retry_max_attempts": step.attempts,
            **({"on_timeout": {"default": 1}} if step.has_default else {}),
        }
        for step in steps
    ]
    parsed = parse({"slug": "w", "max_parallel_steps": places, "steps": given}, TRUSTED)
    assert parsed.definition is not None, parsed.faults
    return parsed.definition


class Run:
    """A workflow run under the rules. The answers to conditions are asked for as the rules ask."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.status = WorkflowRunStatus.RUNNING
        self.steps = fresh(len(definition.steps))
        self.asked: set[str] = set()

    def commit(self, happened: Sequence[Happened], conditions: dict[str, bool | str]) -> Advance:
        answers: dict[int, Answer] = {}
        inquiry: Inquiry | None = None
        while True:
            after = advance(self.definition, self.status, self.steps, happened, answers)
            if not after.questions:
                break
            assert not answers.keys() & set(after.questions), "asked twice"
            # To go on asking from where one stood comes to the same as to begin at the start.
            inquiry = inquiry or Inquiry(self.definition, self.status, self.steps, happened)
            assert (inquiry.questions, inquiry.steps) == (after.questions, after.steps)
            told = {step: conditions[self.definition.steps[step].ref] for step in after.questions}
            answers |= told
            inquiry.tell(told)
        assert inquiry is None or not inquiry.questions
        self.check(after)
        self.status, self.steps = after.status, after.steps
        return after

    def check(self, after: Advance) -> None:
        """What must hold of every single advance."""
        before, now = statuses(self.steps), statuses(after.steps)
        for step in after.starts:
            if before[step] in (StepStatus.RUNNING, StepStatus.WAITING):
                left = {change.kind for change in after.changes if change.step == step}
                assert left & {FactKind.STEP_RETRIED, FactKind.STEP_REOPENED}, "started while it is parked"
            assert now[step] in (StepStatus.RUNNING, StepStatus.WAITING)
        assert len(set(after.starts)) == len(after.starts)
        for step in after.closes:
            assert now[step] in (StepStatus.SKIPPED, StepStatus.CANCELED)
        changed = {change.step for change in after.changes if change.step is not None}
        silent = [step for step, state in enumerate(now) if state != before[step] and step not in changed]
        if after.status in WORKFLOW_RUN_ENDED:
            assert not [state for state in now if state in STEP_LIVE]
            assert not after.starts
            assert all(now[step] == StepStatus.CANCELED for step in silent)
        else:
            assert silent == []
            assert self.goes_on(after, now), "stalled"

    def goes_on(self, after: Advance, now: Sequence[StepStatus]) -> bool:
        """Somebody can still bring it further: something is under way, or it is paused with work left."""
        under_way = any(
            state in (StepStatus.RUNNING, StepStatus.WAITING, StepStatus.DELAYED) for state in now
        )
        return under_way or after.status == WorkflowRunStatus.PAUSED

    def words(self) -> dict[str, str]:
        return {
            step.ref: str(state)
            for step, state in zip(self.definition.steps, statuses(self.steps), strict=True)
        }


def _happened(definition: Definition, event: Event) -> Happened:
    if event.step is None:
        return Happened(RUN_KINDS[event.what])
    return Happened(KINDS[event.what], definition.places[event.step], event.attempt, error="why")


@st.composite
def events(draw: st.DrawFn, now: dict[str, str]) -> list[Event]:
    """What may happen next, for the most part to steps that it can concern."""
    alive = [name for name, state in now.items() if state in ("running", "waiting")]
    names = st.sampled_from([*alive, *alive, *alive, *now])
    of_steps = st.builds(
        Event, st.sampled_from([*["completed"] * 6, *["due"] * 3, *KINDS]), names, st.integers(1, 2)
    )
    of_run = st.sampled_from([Event("paused"), *[Event("resumed")] * 3])
    rare = st.sampled_from([Event("canceled"), Event("timed_out")])
    kinds = draw(st.lists(st.sampled_from([*["step"] * 12, *["run"] * 2, "rare"]), min_size=1, max_size=5))
    return [draw({"step": of_steps, "run": of_run, "rare": rare}[kind]) for kind in kinds]


CONDITIONS: st.SearchStrategy[bool | str] = st.sampled_from([True, True, False, "cannot be told"])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_the_rules_and_the_reference_tell_the_same_story(data: st.DataObject) -> None:
    steps, places = data.draw(workflows())
    definition = _definition(steps, places)
    run, slow = Run(definition), SlowRun(steps, places)
    for number in range(data.draw(st.integers(1, 12))):
        batch = data.draw(events(slow.now)) if number else []
        conditions: dict[str, bool | str] = {
            step.name: data.draw(CONDITIONS) for step in steps if step.conditional
        }
        begins = [] if number else [Happened(FactKind.WORKFLOW_RUN_CREATED)]
        after = run.commit([*begins, *(_happened(definition, event) for event in batch)], conditions)
        started = slow.commit(batch, conditions)
        assert run.words() == slow.now
        assert run.status == slow.run
        assert {definition.steps[step].ref for step in after.starts} == started
        assert {definition.steps[step].ref for step in after.closes} == slow.closed


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_the_order_of_ends_within_a_commit_makes_no_difference_and_doubles_none(data: st.DataObject) -> None:
    steps, places = data.draw(workflows())
    definition = _definition(steps, places)
    run = Run(definition)
    conditions: dict[str, bool | str] = {
        step.name: data.draw(CONDITIONS) for step in steps if step.conditional
    }
    run.commit([Happened(FactKind.WORKFLOW_RUN_CREATED)], conditions)
    for _ in range(data.draw(st.integers(1, 8))):
        live = [
            step
            for step, state in enumerate(statuses(run.steps))
            if state in ("running", "waiting", "delayed")
        ]
        ends = [
            Happened(
                FactKind.STEP_DUE
                if state == "delayed"
                else data.draw(st.sampled_from(list(KINDS.values())[:4])),
                step,
            )
            for step, state in enumerate(statuses(run.steps))
            if step in live and data.draw(st.booleans())
        ]
        shuffled = data.draw(st.permutations(ends + ends))
        other = Run(definition)
        other.status, other.steps = run.status, run.steps
        one, two = run.commit(ends, conditions), other.commit(shuffled, conditions)
        assert (one.status, one.steps, one.starts) == (two.status, two.steps, two.starts)
        assert {change.error for change in one.changes if change.step is None} == {
            change.error for change in two.changes if change.step is None
        }
        # Late: what has been told is told again in a later commit, and changes nothing.
        again = run.commit([each for each in ends if each.step not in one.starts], conditions)
        retried = {change.step for change in one.changes if change.kind == FactKind.STEP_RETRIED}
        if not retried:
            assert (again.changes, again.starts) == ((), ())


@settings(max_examples=EXAMPLES, deadline=None)
@given(workflows(), st.integers(0, 1 << 32))
def test_every_history_in_which_all_that_begins_ends_comes_to_an_end(given: Any, seed: int) -> None:
    """Bug 8, in general: whatever the graph, and in whatever order waits and runs end, nothing stalls."""
    (steps, places), chance = given, random.Random(seed)
    run = Run(_definition(steps, places))
    run.commit(
        [Happened(FactKind.WORKFLOW_RUN_CREATED)], {step.name: chance.random() < 0.7 for step in steps}
    )
    starts = 0
    while run.status not in WORKFLOW_RUN_ENDED:
        live = [
            Happened(FactKind.STEP_DUE if state == StepStatus.DELAYED else FactKind.STEP_COMPLETED, step)
            for step, state in enumerate(statuses(run.steps))
            if state in (StepStatus.RUNNING, StepStatus.WAITING, StepStatus.DELAYED)
        ]
        batch = chance.sample(live, chance.randint(1, len(live)))
        starts += len(run.commit(batch, {step.name: chance.random() < 0.7 for step in steps}).starts)
        assert starts <= len(steps)
    assert run.status == WorkflowRunStatus.COMPLETED
