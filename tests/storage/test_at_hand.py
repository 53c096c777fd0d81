"""What of a batch's reads is good together with its locks, without a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from narrows.core.records import Trigger
from narrows.core.run_records import Run
from narrows.core.workflow_records import WorkflowRun
from narrows.storage import locks
from narrows.storage.at_hand import WITH_LOCKS, AtHand, asked
from narrows.storage.lookups import LOOKUPS

_PLACE = {name: number for number, name in enumerate(Trigger._fields)}
BY_KEY = ("triggers_by_key", "p", "a")
LOCKED_NAME = ("held_by_key", "p", "a")


def _row(trigger_id: str, status: str) -> tuple[str, ...]:
    row = [""] * len(_PLACE)
    for name, value in (("project_id", "p"), ("id", trigger_id), ("event_key", "a"), ("status", status)):
        row[_PLACE[name]] = value
    return tuple(row)


def _made(record_class: Any, **values: Any) -> tuple[Any, ...]:
    """A row in which all else is null."""
    return tuple(({"project_id": "p"} | values).get(name) for name in record_class._fields)


def _left(*touches: tuple[str, ...], locked: list[tuple[str, ...]], newest: str | None) -> bool:
    """Whether the key must be looked up behind the locks."""
    at_hand = AtHand()
    before = [] if newest is None else [("p", "a", newest)]
    at_hand.keep_triggers(locked, before, locks.needed(touches))
    found, left = at_hand.take({"triggers_by_key": [("p", "a")]})
    assert left or found["triggers_by_key"] == locked
    return bool(left)


@pytest.mark.parametrize(
    ("touches", "locked", "newest"),
    [
        ((BY_KEY,), [_row("t", "waiting")], "t"),
        ((BY_KEY, LOCKED_NAME), [_row("t", "received")], "t"),
        ((BY_KEY, LOCKED_NAME), [], None),
    ],
)
def test_no_lookup_of(
    touches: list[tuple[str, ...]], locked: list[tuple[str, ...]], newest: str | None
) -> None:
    assert not _left(*touches, locked=locked, newest=newest)


def test_whether_a_key_has_a_newer_wait_is_not_known_without_its_name() -> None:
    assert _left(BY_KEY, locked=[_row("t", "received")], newest="t")


def test_that_nothing_is_there_is_not_known_without_its_name() -> None:
    at_hand = AtHand()
    at_hand.keep_triggers([], [], locks.needed([BY_KEY]))
    assert at_hand.take({"triggers_by_key": [("p", "a")]}) == (
        {"triggers_by_key": []},
        {"triggers_by_key": [("p", "a")]},
    )


def test_the_newest_that_is_not_locked_itself_is_not_stood_in_for_by_an_older_one() -> None:
    """It was deleted before it could be locked."""
    older = _row("older", "canceled")
    at_hand = AtHand()
    at_hand.keep_triggers([older], [("p", "a", "newest")], locks.needed([BY_KEY, LOCKED_NAME]))
    found, left = at_hand.take({"triggers_by_key": [("p", "a")], "triggers_by_id": [("p", "older")]})
    assert (found["triggers_by_id"], left) == ([older], {"triggers_by_key": [("p", "a")]})


def _roots_left(
    *asked_for: str,
    workflow_runs: Sequence[tuple[Any, ...]] = (),
    runs: Sequence[tuple[Any, ...]] = (),
    roots: Sequence[tuple[Any, ...]] = (),
) -> list[str]:
    """Which root rows must be looked up behind the locks."""
    at_hand = AtHand()
    at_hand.keep_roots(workflow_runs, runs, roots)
    found, left = at_hand.take({"roots_by_id": [("p", each) for each in asked_for]})
    assert all(row in roots for row in found["roots_by_id"])
    return [key[1] for key in left.get("roots_by_id", [])]


def test_a_root_row_is_as_before_the_locks_while_what_it_is_of_lives() -> None:
    roots = [("p", "w", "workflow_run", 0, None), ("p", "r", "run", 0, None)]
    for finished_at, left in ((None, []), (1, ["w", "r"])):
        workflow_runs = [_made(WorkflowRun, id="w", finished_at=finished_at)]
        runs = [_made(Run, id="r", wait_group_id="g", finished_at=finished_at)]
        assert _roots_left("w", "r", workflow_runs=workflow_runs, runs=runs, roots=roots) == left


def test_a_run_that_has_waited_may_have_got_its_root_row_meanwhile() -> None:
    never, waited = _made(Run, id="never"), _made(Run, id="waited", wait_group_id="g")
    of_a_step = _made(Run, id="step", wait_group_id="g", workflow_run_id="w")
    assert _roots_left("never", "waited", "step", runs=[never, waited, of_a_step]) == ["waited"]


def test_what_is_asked_for_again_is_asked_of_the_database() -> None:
    wanted = asked(
        [("api_keys_to_change", "k"), ("api_keys_by_id", "k"), ("runs_by_id", "p", "r")], WITH_LOCKS
    )
    assert wanted == {"api_keys_by_id": [("k",)]}
    at_hand = AtHand()
    at_hand.keep(wanted, [[("k", "a row")]])
    assert at_hand.take(wanted) == ({"api_keys_by_id": [("k", "a row")]}, {})
    assert at_hand.take({"api_keys_by_id": [("other",)]}) == (
        {"api_keys_by_id": []},
        {"api_keys_by_id": [("other",)]},
    )


def test_nothing_is_read_with_the_locks_that_a_later_lock_protects() -> None:
    assert LOOKUPS.keys() >= WITH_LOCKS
    later = {"triggers_by_key", "triggers_by_id", "runs_by_id", "roots_by_id", "wait_groups_by_id"}
    later |= {"queued_runs_by_job", "run_counters_by_job", "deliveries_by_id", "messages_by_id"}
    assert not WITH_LOCKS & later
