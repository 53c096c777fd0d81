"""How a workflow run advances, case by case; `test_workflow_histories.py` has the histories nobody thought of."""

from __future__ import annotations

import random
from typing import Any

import pytest

from narrows.core.states import FactKind, StepStatus, WorkflowRunStatus
from narrows.core.step_states import fresh, statuses
from narrows.core.workflow_definitions import parse
from narrows.core.workflow_fields import TRUSTED
from narrows.core.workflows import Advance, Answer, Happened, advance, may_happen

DONE, FAILED, TIMED_OUT, CANCELED = (
    FactKind.STEP_COMPLETED,
    FactKind.STEP_FAILED,
    FactKind.STEP_TIMED_OUT,
    FactKind.STEP_CANCELED,
)
PAUSED, RESUMED = FactKind.WORKFLOW_RUN_PAUSED, FactKind.WORKFLOW_RUN_RESUMED


def job(ref: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"step_ref": ref, "job_slug": "j", "depends_on": list(after), **fields}


def wait(ref: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"step_ref": ref, "type": "wait_for_event", "event_key": ref, "depends_on": list(after), **fields}


class Story:
    """A workflow run, told in refs. It has begun."""

    def __init__(
        self, *steps: dict[str, Any], answers: dict[str, Answer] | None = None, **fields: Any
    ) -> None:
        parsed = parse({"slug": "w", "steps": list(steps), **fields}, TRUSTED)
        assert parsed.definition is not None, parsed.faults
        self.definition = parsed.definition
        self.state, self.steps = WorkflowRunStatus.RUNNING, fresh(len(steps))
        self.last = self.tell((FactKind.WORKFLOW_RUN_CREATED, None), answers=answers)

    def tell(
        self, *happened: tuple[FactKind, str | None] | Happened, answers: dict[str, Answer] | None = None
    ) -> Advance:
        places = self.definition.places
        told = [
            each
            if isinstance(each, Happened)
            else Happened(each[0], None if each[1] is None else places[each[1]])
            for each in happened
        ]
        answered = {places[ref]: answer for ref, answer in (answers or {}).items()}
        self.last = advance(self.definition, self.state, self.steps, told, answered)
        assert self.last.questions == ()
        self.state, self.steps = self.last.status, self.last.steps
        return self.last

    def end(
        self, kind: FactKind, ref: str, attempt: int = 1, error: str | None = "why", final: bool = False
    ) -> Advance:
        return self.tell(Happened(kind, self.definition.places[ref], attempt, error, final))

    @property
    def status(self) -> str:
        return str(self.state)

    @property
    def started(self) -> list[str]:
        return [self.definition.steps[step].ref for step in self.last.starts]

    @property
    def closed(self) -> list[str]:
        return [self.definition.steps[step].ref for step in self.last.closes]

    @property
    def now(self) -> dict[str, str]:
        return {
            step.ref: str(each)
            for step, each in zip(self.definition.steps, statuses(self.steps), strict=True)
        }

    @property
    def kinds(self) -> list[str]:
        return [str(change.kind) for change in self.last.changes]

    @property
    def error(self) -> str | None:
        return next(change.error for change in self.last.changes if change.step is None)


# ---- the ordinary course -----------------------------------------------------------------------


def test_job_wait_job() -> None:
    story = Story(job("collect"), wait("aml", "collect"), job("open", "aml"))
    assert story.started == ["collect"]
    story.tell((DONE, "collect"))
    assert story.started == ["aml"]
    assert story.now == {"collect": "completed", "aml": "waiting", "open": "pending"}
    story.tell((DONE, "aml"))
    assert story.kinds == ["step.completed", "step.started"]
    story.tell((DONE, "open"))
    assert story.status == WorkflowRunStatus.COMPLETED
    assert story.kinds == ["step.completed", "workflow_run.completed"]


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"job_slug": "j"}, "running"),
        ({"type": "sub_workflow", "workflow_slug": "w"}, "running"),
        ({"type": "wait_for_event", "event_key": "k"}, "waiting"),
        ({"type": "wait_for_any", "event_keys": ["k"]}, "waiting"),
        ({"type": "wait_for_all", "event_keys": ["k"]}, "waiting"),
        ({"type": "sleep", "sleep_duration": "1h"}, "waiting"),
        ({"type": "approval"}, "waiting"),
    ],
)
def test_what_executes_runs_and_what_waits_is_parked(fields: dict[str, Any], state: str) -> None:
    story = Story({"step_ref": "a", **fields})
    assert story.now == {"a": state}
    story.tell((DONE, "a"))
    assert story.status == WorkflowRunStatus.COMPLETED


def test_a_diamond_joins_once_whether_its_sides_end_together_or_one_after_the_other() -> None:
    steps = job("a"), wait("left", "a"), wait("right", "a"), job("join", "left", "right")
    together, apart = Story(*steps), Story(*steps)
    for story in (together, apart):
        assert story.tell((DONE, "a")).starts == (1, 2)
    together.tell((DONE, "right"), (DONE, "left"))
    assert together.started == ["join"]
    assert not apart.tell((DONE, "left")).starts
    apart.tell((DONE, "right"))
    assert apart.started == ["join"]
    assert together.now == apart.now


# ---- regressions: bugs that others had (promises.md) ---------------------------------------------


def test_bug_08_a_parked_wait_is_not_started_again_when_a_sibling_ends() -> None:
    story = Story(job("a"), wait("w1", "a"), wait("w2", "a"), job("b", "a"), job("end", "w1", "w2", "b"))
    story.tell((DONE, "a"))
    story.tell((DONE, "b"))
    assert story.started == []
    story.tell((DONE, "w1"))
    assert story.started == []
    assert story.now["w2"] == "waiting"
    story.tell((DONE, "w2"))
    assert story.started == ["end"]


@pytest.mark.parametrize("seed", range(20))
def test_bug_08_200_parallel_waits_whose_events_come_in_any_order_doubled_early_and_late(seed: int) -> None:
    refs = [f"w{number}" for number in range(200)]
    story = Story(job("a"), *(wait(ref, "a") for ref in refs), job("join", *refs))
    assert story.tell(*((DONE, ref) for ref in refs)).changes == ()  # early: nothing is parked yet
    story.tell((DONE, "a"))
    assert story.started == refs
    chance = random.Random(seed)
    left = chance.sample([*refs, *refs], 400)
    joined = 0
    while left:
        size = chance.randint(1, 400) if seed % 2 else 400
        batch, left = left[:size], left[size:]
        story.tell(*((DONE, ref) for ref in batch))
        joined += story.started == ["join"]
    assert joined == 1
    assert not story.tell(*((DONE, ref) for ref in refs)).changes  # late
    story.tell((DONE, "join"))
    assert story.status == WorkflowRunStatus.COMPLETED


def test_bug_09_a_second_end_of_a_step_counts_for_nothing() -> None:
    story = Story(wait("a"), wait("b"), job("join", "a", "b"))
    assert len(story.tell((DONE, "a"), (DONE, "a"), (FAILED, "a")).changes) == 1
    assert story.tell((DONE, "a"), (TIMED_OUT, "a")).changes == ()
    assert story.now == {"a": "completed", "b": "waiting", "join": "pending"}


def test_bug_10_what_ended_another_way_is_closed_and_never_comes_back() -> None:
    story = Story(wait("a", on_failure="continue"), wait("b"), job("c", "a", "b"))
    story.tell((FactKind.WORKFLOW_RUN_CANCELED, None))
    assert story.closed == ["a", "b"]
    assert story.status == WorkflowRunStatus.CANCELED
    for kind in (DONE, FAILED, TIMED_OUT, FactKind.STEP_REOPENED, FactKind.STEP_SKIPPED):
        assert story.tell((kind, "a")).changes == ()
    assert set(story.now.values()) == {"canceled"}


def test_bug_10_a_failing_step_closes_the_waits_of_all_others_in_the_same_breath() -> None:
    story = Story(job("a"), wait("w"), {"step_ref": "s", "type": "approval"}, job("b", "w"))
    story.end(FAILED, "a", error="no money")
    assert story.status == WorkflowRunStatus.FAILED
    assert story.closed == ["w", "s"]
    assert story.error == "the step 'a' failed: no money"
    assert story.now == {"a": "failed", "w": "canceled", "s": "canceled", "b": "canceled"}
    assert story.kinds == ["step.failed", "step.canceled", "step.canceled", "workflow_run.failed"]


def test_a_time_out_and_the_event_in_one_commit_the_first_counts() -> None:
    story = Story(wait("w"), job("b", "w"))
    story.tell((DONE, "w"), (TIMED_OUT, "w"))
    assert story.started == ["b"]


# ---- policies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FAILED, TIMED_OUT, CANCELED])
def test_skip_dependents_skips_all_that_depends_on_it_and_fails_in_the_end(kind: FactKind) -> None:
    story = Story(
        job("a", on_failure="skip_dependents"),
        job("b", "a"),
        job("c", "b"),
        job("x"),
        job("d", "x"),
        job("e", "d", "c"),
    )
    story.end(kind, "a")
    assert story.now == {
        "a": str(kind)[5:],
        "b": "skipped",
        "c": "skipped",
        "x": "running",
        "d": "pending",
        "e": "skipped",
    }
    assert story.status == WorkflowRunStatus.RUNNING
    assert all("'a'" in (change.error or "") for change in story.last.changes[1:])
    story.tell((DONE, "x"))
    story.tell((DONE, "d"))
    assert story.status == WorkflowRunStatus.FAILED
    assert story.error == "not all steps ended well: 'a'"


def test_continue_goes_on_as_if_it_had_ended_well_and_may_complete() -> None:
    story = Story(job("a", on_failure="continue"), job("b", "a"))
    story.end(FAILED, "a")
    assert story.started == ["b"]
    story.tell((DONE, "b"))
    assert story.status == WorkflowRunStatus.COMPLETED


def test_what_is_already_under_way_is_left_alone_by_skip_dependents() -> None:
    story = Story(job("a", on_failure="skip_dependents"), job("b", "a"), job("c", "b"), job("x"))
    story.tell((FactKind.STEP_SKIPPED, "b"))
    assert story.started == ["c"]
    story.end(FAILED, "a")
    assert story.now == {"a": "failed", "b": "skipped", "c": "running", "x": "running"}


def test_a_step_that_waits_for_two_failures_is_skipped_once() -> None:
    story = Story(
        job("a", on_failure="skip_dependents"), job("b", on_failure="skip_dependents"), job("c", "a", "b")
    )
    story.tell((FAILED, "a"), (FAILED, "b"))
    assert story.kinds == ["step.failed", "step.failed", "step.skipped", "workflow_run.failed"]
    assert story.error == "not all steps ended well: 'a', 'b'"


def test_a_time_out_with_a_default_completes_the_step() -> None:
    story = Story(wait("w", on_timeout={"default": {"ok": False}}), job("b", "w"))
    last = story.end(TIMED_OUT, "w", error="too late")
    assert story.started == ["b"]
    assert (last.changes[0].status, last.changes[0].by_default) == (StepStatus.COMPLETED, True)
    assert last.changes[0].error == "too late"


def test_a_default_is_for_time_outs_alone() -> None:
    story = Story(wait("w", on_timeout={"default": 1}))
    story.end(CANCELED, "w")
    assert story.status == WorkflowRunStatus.FAILED


# ---- retries -----------------------------------------------------------------------------------


def test_another_attempt_after_a_pause_until_there_are_no_more() -> None:
    story = Story(wait("w", retry_max_attempts=3, on_timeout={"default": 1}), job("b", "w"))
    for attempt, kind in ((1, FAILED), (2, TIMED_OUT)):
        story.end(kind, "w", attempt)
        assert story.now["w"] == "delayed"
        assert story.kinds == ["step.retried"]
        story.tell((FactKind.STEP_DUE, "w"))
        assert story.started == ["w"]
    story.end(TIMED_OUT, "w", 3)
    assert story.now == {"w": "completed", "b": "running"}


def test_a_final_failure_and_a_cancel_are_not_tried_again() -> None:
    for kind, final in ((FAILED, True), (CANCELED, False)):
        story = Story(wait("w", retry_max_attempts=3))
        story.end(kind, "w", final=final)
        assert story.status == WorkflowRunStatus.FAILED


def test_a_pause_between_attempts_is_closed_with_its_workflow_run() -> None:
    story = Story(job("a", retry_max_attempts=2), job("b"))
    story.end(FAILED, "a")
    story.end(FAILED, "b")
    assert story.closed == ["a"]


def test_a_retry_by_hand_takes_back_what_was_skipped_for_it() -> None:
    story = Story(
        job("a", on_failure="skip_dependents"),
        job("z", on_failure="skip_dependents"),
        job("b", "a"),
        job("c", "b"),
        job("d", "b", "z"),
        job("x"),
    )
    story.tell((FAILED, "a"), (FAILED, "z"))
    story.tell((FactKind.STEP_REOPENED, "a"))
    assert story.started == ["a"]
    assert story.now == {
        "a": "running",
        "z": "failed",
        "b": "pending",
        "c": "pending",
        "d": "skipped",
        "x": "running",
    }
    story.tell((DONE, "a"))
    assert story.started == ["b"]


def test_only_what_ended_badly_is_retried_and_only_what_lives_is_skipped() -> None:
    retried = {each for each in StepStatus if may_happen(each, FactKind.STEP_REOPENED)}
    assert retried == {StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.CANCELED}
    skipped = {each for each in StepStatus if may_happen(each, FactKind.STEP_SKIPPED)}
    assert skipped == {"pending", "queued", "running", "waiting", "delayed"}


# ---- conditions and skips ----------------------------------------------------------------------


def test_a_condition_is_asked_when_the_steps_turn_has_come() -> None:
    story = Story(job("a"), job("b", "a", condition="x"), job("c", "b"))
    done = Happened(DONE, 0)
    asked = advance(story.definition, story.state, story.steps, [done])
    assert asked.questions == (1,)
    for answer, started, state in ((True, ["b"], "running"), (False, ["c"], "skipped")):
        other = Story(job("a"), job("b", "a", condition="x"), job("c", "b"))
        other.tell(done, answers={"b": answer})
        assert (other.started, other.now["b"]) == (started, state)


def test_all_conditions_that_can_be_asked_are_asked_at_once() -> None:
    story = Story(job("a"), *(job(f"b{number}", "a", condition="x") for number in range(5)))
    assert advance(story.definition, story.state, story.steps, [Happened(DONE, 0)]).questions == (
        1,
        2,
        3,
        4,
        5,
    )


def test_a_condition_that_cannot_be_told_fails_the_step() -> None:
    story = Story(job("a"), job("b", "a", condition="x"))
    story.tell((DONE, "a"), answers={"b": "cannot be told: no such key"})
    assert story.status == WorkflowRunStatus.FAILED
    assert story.error == "the step 'b' failed: its condition cannot be told: no such key"


def test_a_skipped_step_releases_its_dependents_whoever_skipped_it() -> None:
    by_condition = Story(job("a", condition="x"), job("b", "a"), answers={"a": False})
    assert by_condition.started == ["b"]
    by_hand = Story(job("a"), job("b", "a"))
    by_hand.tell((FactKind.STEP_SKIPPED, "a"))
    assert (by_hand.started, by_hand.closed) == (["b"], ["a"])


def test_a_workflow_of_which_everything_is_skipped_is_completed() -> None:
    story = Story(
        *(job(f"s{n}", *([f"s{n - 1}"] if n else []), condition="x") for n in range(50)),
        answers={f"s{n}": False for n in range(50)},
    )
    assert story.status == WorkflowRunStatus.COMPLETED
    assert set(story.now.values()) == {"skipped"}


# ---- places, pausing, ending -------------------------------------------------------------------


def test_no_more_run_at_a_time_than_there_are_places_and_waits_take_none() -> None:
    story = Story(job("a"), job("b"), job("c"), wait("w"), job("d"), max_parallel_steps=2)
    assert story.started == ["a", "b", "w"]
    assert story.now == {"a": "running", "b": "running", "c": "queued", "w": "waiting", "d": "queued"}
    story.tell((DONE, "w"))
    assert story.started == []
    story.tell((DONE, "b"), (DONE, "a"))
    assert story.started == ["c", "d"]


def test_while_it_is_paused_ends_are_taken_and_nothing_starts() -> None:
    story = Story(job("a"), wait("w"), job("b", "a"), job("c", "w"))
    story.tell((PAUSED, None))
    story.tell((DONE, "a"), (DONE, "w"))
    assert story.started == []
    assert story.now == {"a": "completed", "w": "completed", "b": "queued", "c": "queued"}
    story.tell((RESUMED, None))
    assert story.started == ["b", "c"]
    assert story.kinds == ["workflow_run.resumed", "step.started", "step.started"]


def test_pausing_and_resuming_twice_changes_nothing() -> None:
    story = Story(job("a"))
    assert story.tell((RESUMED, None)).changes == ()
    story.tell((PAUSED, None))
    assert story.tell((PAUSED, None)).changes == ()
    assert story.status == WorkflowRunStatus.PAUSED


def test_a_paused_run_fails_ends_and_is_canceled_like_any_other() -> None:
    for happened, status in (
        ((FAILED, "a"), WorkflowRunStatus.FAILED),
        ((DONE, "a"), WorkflowRunStatus.COMPLETED),
        ((FactKind.WORKFLOW_RUN_TIMED_OUT, None), WorkflowRunStatus.TIMED_OUT),
    ):
        story = Story(job("a"))
        story.tell((PAUSED, None))
        story.tell(happened)
        assert story.status == status


def test_with_the_time_out_of_the_workflow_everything_of_it_ends() -> None:
    story = Story(job("a"), wait("w"), job("b", "a"), job("q"), max_parallel_steps=1)
    story.tell(Happened(FactKind.WORKFLOW_RUN_TIMED_OUT, error="over a day"), (DONE, "a"))
    assert story.status == WorkflowRunStatus.TIMED_OUT
    assert story.error == "over a day"
    assert story.now == {"a": "completed", "w": "canceled", "b": "canceled", "q": "canceled"}
    # Of what never began there is nothing to tell.
    assert story.kinds == ["step.completed", "step.canceled", "workflow_run.timed_out"]


def test_what_happens_to_a_run_that_has_ended_changes_nothing() -> None:
    story = Story(job("a"))
    story.tell((DONE, "a"))
    for kind in (PAUSED, RESUMED, FactKind.WORKFLOW_RUN_CANCELED, FactKind.WORKFLOW_RUN_TIMED_OUT):
        assert story.tell((kind, None)).changes == ()


# ---- what it costs -----------------------------------------------------------------------------


def test_the_work_of_an_advance_grows_with_what_changes_not_with_what_there_is() -> None:
    """Counted, not timed: function calls of one event in a fan-out of 1,000 waits against one of 10."""
    import cProfile

    def calls(count: int) -> int:
        refs = [f"w{number}" for number in range(count)]
        story = Story(job("a"), *(wait(ref, "a") for ref in refs), job("join", *refs))
        story.tell((DONE, "a"))
        profile = cProfile.Profile()
        profile.enable()
        advance(story.definition, story.state, story.steps, [Happened(DONE, count // 2)])
        profile.disable()
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(998) <= calls(8) * 1.2
