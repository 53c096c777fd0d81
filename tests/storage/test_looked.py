"""What has to be locked of triggers that were only read, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.core.records import Trigger
from narrows.storage import locks
from narrows.storage.backend import Write
from narrows.storage.looked import Looked, belongs_to_a_run


def _trigger(**values: Any) -> tuple[Any, ...]:
    values = {"project_id": "p", "id": "t", "version": 3} | values
    return (*(values.get(name) for name in Trigger._fields), "(1,2)")


def _write(statement: str, *row: Any) -> Write:
    return Write(statement, [("p", "t", *row)], True)


SETTLED = _write("settle_triggers", 4, "received")
TO_LOCK = {("triggers_to_change", "p", "t")}


@pytest.mark.parametrize(
    "writes",
    [
        [SETTLED],
        [SETTLED, _write("note_deliveries", "pending"), _write("cast_ballots", "yes")],
        [_write("insert_triggers", "a", 1)],
        [Write("settle_triggers", [("p", "another", 9, "received")], True)],
        [Write("extend_triggers", [("p", "another", 9)], True)],
        [_write("insert_facts", "trigger.received")],
    ],
)
def test_nothing_has_to_be_locked_for(writes: list[Write]) -> None:
    assert Looked([_trigger()]).to_lock(writes) == set()


@pytest.mark.parametrize(
    "writes",
    [
        [_write("settle_triggers", 5, "received")],
        [_write("settle_extended_triggers", 5, "received")],
        [_write("extend_triggers", 4)],
        [_write("note_deliveries", "delivered")],
        [_write("note_deliveries", "delivered"), SETTLED],
        [_write("delete_triggers")],
    ],
)
def test_it_has_to_be_locked_for(writes: list[Write]) -> None:
    assert Looked([_trigger()]).to_lock(writes) == TO_LOCK


def test_of_what_was_settled_that_is_locked_which_was_only_read() -> None:
    assert Looked([_trigger()]).touches([*SETTLED.rows, ("p", "another", 9)]) == TO_LOCK


def test_what_was_only_read_is_settled_before_all_else_at_its_place_and_in_the_order_of_ids() -> None:
    """As if it had been locked first."""
    looked = Looked([_trigger(notify_status="pending"), (*_trigger(id="s")[:-1], "(0,1)")])
    rows = looked.by_places({"insert_facts": [("p",)], "settle_triggers": [("p", "t", 4), ("p", "s", 4)]})
    assert list(rows.items()) == [
        ("settle_looked_triggers", [("p", "s", 4, None, "(0,1)"), ("p", "t", 4, "pending", "(1,2)")]),
        ("insert_facts", [("p",)]),
    ]


def test_of_a_key_that_is_named_that_is_locked_which_was_only_read() -> None:
    looked = Looked([_trigger(event_key="a")])
    assert looked.under([("held_by_key", "p", "a"), ("triggers_by_key", "p", "b")]) == TO_LOCK
    assert looked.under([("triggers_by_key", "another", "a"), ("triggers_by_key", "p", "b")]) == set()


def test_what_was_locked_is_settled_where_it_is_then() -> None:
    rows = {"settle_triggers": [("p", "t", 4)]}
    assert Looked().by_places(rows) == rows


@pytest.mark.parametrize("values", [{"root_id": "r"}, {"job_run_id": "j"}])
def test_what_belongs_to_a_run_is_not_for_itself(values: dict[str, str]) -> None:
    assert belongs_to_a_run(_trigger(**values))
    assert not belongs_to_a_run(_trigger())


@pytest.mark.parametrize("touch", [("triggers_by_key", "p", "a"), ("triggers_by_id", "p", "t")])
def test_triggers_alone_may_be_read_first(touch: tuple[str, ...]) -> None:
    assert locks.needed([touch, ("api_keys_by_id", "k"), ("held_by_key", "p", "a")]).are_triggers_alone


@pytest.mark.parametrize(
    "touch",
    [
        ("triggers_to_change", "p", "t"),
        ("callback_urls_by_hash", "h"),
        ("held_by_event_id", "p", "a", "e"),
        ("held_by_id", "p", "h"),
        ("runs_by_id", "p", "r"),
        ("roots_by_id", "p", "r"),
        ("workflow_runs_by_id", "p", "r"),
        ("queued_runs_by_job", "p", "j", "1"),
        ("deliveries_by_id", "p", "d"),
        ("messages_by_id", "p", "m"),
    ],
)
def test_whatever_else_is_locked_is_locked_in_its_order(touch: tuple[str, ...]) -> None:
    assert not locks.needed([("triggers_by_key", "p", "a"), touch]).are_triggers_alone


def test_without_triggers_there_is_nothing_to_read_first() -> None:
    assert not locks.needed([("api_keys_by_id", "k")]).are_triggers_alone
