"""What follows from bad ends: policies, retries, conditions that cannot be told, and what is skipped."""

from __future__ import annotations

import pytest

from narrows.core.states import FactKind, StepStatus, WorkflowRunStatus
from narrows.core.workflows import Happened, advance, may_happen
from tests.core.workflow_story import CANCELED, DONE, FAILED, TIMED_OUT, Story, job, wait

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


def test_what_is_parked_is_left_alone_when_what_it_depends_on_is_retried() -> None:
    story = Story(job("a", on_failure="continue"), wait("w", "a"), job("q", "a"), max_parallel_steps=1)
    story.end(FAILED, "a")
    assert story.now == {"a": "failed", "w": "waiting", "q": "running"}
    story.tell((FactKind.STEP_REOPENED, "a"), (DONE, "q"))
    assert story.started == ["a"]
    assert not story.tell((DONE, "a")).starts
    assert story.now == {"a": "completed", "w": "waiting", "q": "completed"}


def test_of_two_failures_in_one_commit_the_first_of_the_definition_is_told() -> None:
    for order in (("a", "b"), ("b", "a")):
        story = Story(job("a"), job("b"))
        story.tell(*((FAILED, ref) for ref in order))
        assert story.error == "the step 'a' failed"
