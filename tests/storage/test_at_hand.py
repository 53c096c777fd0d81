"""What of a batch's reads is good together with its locks, without a database."""

from __future__ import annotations

import pytest

from narrows.core.records import Trigger
from narrows.storage import locks
from narrows.storage.at_hand import WITH_LOCKS, AtHand, with_locks
from narrows.storage.lookups import LOOKUPS

_PLACE = {name: number for number, name in enumerate(Trigger._fields)}
BY_KEY = ("triggers_by_key", "p", "a")
LOCKED_NAME = ("held_by_key", "p", "a")


def _row(trigger_id: str, status: str) -> tuple[str, ...]:
    row = [""] * len(_PLACE)
    for name, value in (("project_id", "p"), ("id", trigger_id), ("event_key", "a"), ("status", status)):
        row[_PLACE[name]] = value
    return tuple(row)


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
    """It belongs to a run, or was deleted before it could be locked."""
    older = _row("older", "canceled")
    at_hand = AtHand()
    at_hand.keep_triggers([older], [("p", "a", "newest")], locks.needed([BY_KEY, LOCKED_NAME]))
    found, left = at_hand.take({"triggers_by_key": [("p", "a")], "triggers_by_id": [("p", "older")]})
    assert (found["triggers_by_id"], left) == ([older], {"triggers_by_key": [("p", "a")]})


def test_what_is_asked_for_again_is_asked_of_the_database() -> None:
    wanted = with_locks([("api_keys_to_change", "k"), ("api_keys_by_id", "k"), ("runs_by_id", "p", "r")])
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
