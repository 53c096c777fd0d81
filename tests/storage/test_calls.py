"""Round trips and statements are counted as they are made."""

from __future__ import annotations

from narrows.storage.calls import Calls, statements_in


def test_statements_of_a_text_are_counted_whether_or_not_the_last_is_ended() -> None:
    assert statements_in("rollback") == 1
    assert statements_in("begin; set local jit = off; ") == 2
    assert statements_in("insert into t values ('a', 1); commit") == 2


def test_a_round_trip_counts_once_whatever_it_carries() -> None:
    calls = Calls()
    calls.count()
    calls.count(3)
    assert (calls.round_trips, calls.statements) == (2, 4)
