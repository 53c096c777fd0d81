"""The table of states: every status with everything that can happen to it."""

from __future__ import annotations

import itertools

import pytest

from narrows.core.diagrams import trigger_diagram
from narrows.core.states import (
    OPEN_TO_EVENTS,
    SETTLED,
    TRANSITIONS,
    FactKind,
    TriggerStatus,
    TriggerType,
    next_status,
)
from narrows.errors import InvariantViolated

WAITING = TriggerStatus.WAITING
EXPECTED = {
    (WAITING, FactKind.TRIGGER_EXTENDED): WAITING,
    (WAITING, FactKind.TRIGGER_RECEIVED): TriggerStatus.RECEIVED,
    (WAITING, FactKind.TRIGGER_TIMED_OUT): TriggerStatus.TIMED_OUT,
    (WAITING, FactKind.TRIGGER_CANCELED): TriggerStatus.CANCELED,
}


@pytest.mark.parametrize(("status", "happened"), list(itertools.product(TriggerStatus, FactKind)))
def test_every_pair(status: TriggerStatus, happened: FactKind) -> None:
    if (status, happened) in EXPECTED:
        assert next_status(status, happened) == EXPECTED[status, happened]
    else:
        with pytest.raises(InvariantViolated, match=str(status)):
            next_status(status, happened)


def test_a_settled_status_has_no_way_out_and_the_waiting_one_has() -> None:
    assert set(TriggerStatus) - SETTLED == {WAITING}
    assert {before for before, _ in TRANSITIONS} == {WAITING}


def test_only_an_event_wait_is_open_to_events() -> None:
    assert {TriggerType.EVENT} == OPEN_TO_EVENTS


def test_the_diagram_shows_every_edge_once() -> None:
    lines = trigger_diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert len(lines) == len(set(lines)) == 2 + len(TRANSITIONS) + len(SETTLED)
    for (before, kind), after in TRANSITIONS.items():
        assert f"    {before} --> {after}: {kind}" in lines
