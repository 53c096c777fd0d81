"""Which writes of a batch go to PostgreSQL as one statement."""

from __future__ import annotations

import pytest

from narrows.storage.together import apart


def test_writes_to_different_tables_go_together() -> None:
    names = ("insert_runs", "settle_triggers", "insert_facts", "add_counters")

    assert apart(names) == (names,)


@pytest.mark.parametrize(
    "names",
    [
        ("insert_steps", "update_steps"),
        ("update_steps", "insert_steps"),
        ("insert_triggers", "settle_triggers"),
        ("insert_runs", "update_runs"),
        ("insert_workflow_runs", "update_workflow_runs"),
    ],
)
def test_new_rows_go_with_changes_of_old_ones(names: tuple[str, ...]) -> None:
    assert apart(names) == (names,)


@pytest.mark.parametrize(
    "names",
    [
        # One row may be in both: the second would not see the first.
        ("settle_triggers", "note_deliveries"),
        ("settle_triggers", "extend_triggers"),
        # What the one gives up the other may take: a slug, an event id, the ordinal of a key.
        ("insert_jobs", "update_jobs"),
        ("insert_workflows", "update_workflows"),
        ("delete_held_events", "insert_held_events"),
        ("delete_triggers", "insert_triggers"),
        ("release_payloads", "delete_released_payloads"),
    ],
)
def test_other_writes_to_one_table_go_one_after_the_other(names: tuple[str, ...]) -> None:
    assert apart(names) == ((names[0],), (names[1],))


def test_a_third_write_to_a_table_begins_another_statement() -> None:
    names = ("insert_triggers", "settle_triggers", "insert_facts", "note_deliveries", "add_counters")

    assert apart(names) == (names[:3], names[3:])
