"""The tables of workflow runs and steps: what leads where, and that what has ended stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from narrows.core import diagrams, states
from narrows.core.states import FactKind, StepStatus, WorkflowRunStatus
from narrows.core.step_states import StepStates, fresh, statuses
from narrows.errors import InvariantViolated

Table = Mapping[tuple[Any, FactKind], Any]
TABLES: list[tuple[Table, Callable[..., Any], Any, Any, Callable[[], str]]] = [
    (
        states.WORKFLOW_RUN_TRANSITIONS,
        states.next_workflow_run_status,
        WorkflowRunStatus,
        states.WORKFLOW_RUN_ENDED,
        diagrams.workflow_run_diagram,
    ),
    (
        states.STEP_TRANSITIONS,
        states.next_step_status,
        StepStatus,
        states.STEP_ENDED,
        diagrams.step_diagram,
    ),
]


@pytest.mark.parametrize(("table", "after", "kinds", "ended", "diagram"), TABLES)
def test_what_is_not_in_the_table_is_refused(
    table: Table, after: Callable[..., Any], kinds: Any, ended: Any, diagram: Any
) -> None:
    for status in kinds:
        for happened in FactKind:
            if (status, happened) in table:
                assert after(status, happened) == table[status, happened]
            else:
                with pytest.raises(InvariantViolated, match=str(status)):
                    after(status, happened)


@pytest.mark.parametrize(("table", "after", "kinds", "ended", "diagram"), TABLES)
def test_the_diagram_shows_every_edge_once(
    table: Table, after: Callable[..., Any], kinds: Any, ended: Any, diagram: Callable[[], str]
) -> None:
    lines = diagram().splitlines()
    assert len(lines) == len(set(lines)) == 2 + len(table) + len(ended)
    for (before, kind), then in table.items():
        assert f"    {before} --> {then}: {kind}" in lines


def test_a_workflow_run_that_has_ended_has_no_way_out() -> None:
    assert not {before for before, _ in states.WORKFLOW_RUN_TRANSITIONS} & states.WORKFLOW_RUN_ENDED


def test_only_a_retry_leads_out_of_the_end_of_a_step_and_nothing_out_of_its_completion() -> None:
    ways = {(before, kind) for before, kind in states.STEP_TRANSITIONS if before in states.STEP_ENDED}
    assert {kind for _, kind in ways} == {FactKind.STEP_REOPENED}
    assert StepStatus.COMPLETED not in {before for before, _ in ways}


def test_a_parked_step_cannot_be_started() -> None:
    """Bug 8: a parked wait that counts as runnable is started again when a sibling ends."""
    for started in (FactKind.STEP_STARTED, FactKind.STEP_WAITING):
        startable = {before for before, kind in states.STEP_TRANSITIONS if kind == started}
        assert startable == states.STEP_STARTABLE
    assert not states.STEP_STARTABLE & states.STEP_BEGUN


def test_every_state_of_a_step_has_its_own_letter() -> None:
    assert set(states.STEP_LETTERS) == set(StepStatus)
    assert len(set("".join(states.STEP_LETTERS.values()))) == len(StepStatus)


def test_the_letters_of_steps_are_read_changed_and_asked() -> None:
    steps = StepStates(fresh(1_000))
    assert len(steps) == 1_000
    steps.put(0, StepStatus.COMPLETED)
    steps.put(999, StepStatus.WAITING)
    assert steps.at(0) == StepStatus.COMPLETED
    assert steps.those(frozenset({StepStatus.COMPLETED, StepStatus.WAITING})) == 1 | 1 << 999
    assert steps.those(frozenset({StepStatus.FAILED})) == 0
    assert steps.count(StepStatus.PENDING) == 998
    steps.replace([StepStatus.PENDING], StepStatus.CANCELED)
    assert statuses(steps.letters) == [StepStatus.COMPLETED, *[StepStatus.CANCELED] * 998, StepStatus.WAITING]
