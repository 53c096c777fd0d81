"""How a workflow run advances, case by case: its ordinary course, bugs that others had, pauses and ends.
`test_workflow_histories.py` has the histories nobody thought of."""

from __future__ import annotations

import cProfile
import random
from typing import Any

import pytest

from narrows.core.states import FactKind, StepStatus, WorkflowRunStatus
from narrows.core.step_states import kept, statuses
from narrows.core.workflows import Happened, advance
from tests.core.workflow_story import DONE, FAILED, PAUSED, RESUMED, TIMED_OUT, Story, job, wait

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


def test_a_new_run_keeps_what_an_earlier_one_completed() -> None:
    story = Story(job("a"), job("b", "a"), wait("w", "a"), job("c", "b", "w"))
    story.tell((DONE, "a"))
    story.tell((FAILED, "b"))
    again = advance(
        story.definition,
        WorkflowRunStatus.RUNNING,
        kept(story.steps),
        [Happened(FactKind.WORKFLOW_RUN_CREATED)],
    )
    assert [story.definition.steps[step].ref for step in again.starts] == ["b", "w"]
    assert statuses(again.steps)[0] == StepStatus.COMPLETED


# ---- what it costs -----------------------------------------------------------------------------


def test_the_work_of_an_advance_grows_with_what_changes_not_with_what_there_is() -> None:
    """Counted, not timed: function calls of one event in a fan-out of 1,000 waits against one of 10."""

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
