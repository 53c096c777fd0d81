"""When a failed attempt is tried again: exponential, with jitter, and never sooner than the endpoint asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.retries import pause_us

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("attempt", "whole_secs"),
    [(1, 1), (2, 2), (3, 4), (8, 128), (9, 256), (10, 300), (11, 300), (100, 300), (10_000, 300)],
)
def test_the_pause_doubles_up_to_five_minutes_and_half_of_it_is_chance(attempt: int, whole_secs: int) -> None:
    whole = whole_secs * SECOND
    assert pause_us(attempt, 0) == whole // 2
    assert pause_us(attempt, whole // 2) == whole
    spread = {pause_us(attempt, number * 7_919) for number in range(1_000)}
    assert len(spread) > 900
    assert all(whole // 2 <= each <= whole for each in spread)


@given(st.integers(1, 100), st.integers(0, 2**64 - 1), st.none() | st.integers(0, 10**12))
def test_a_retry_after_counts_where_it_is_longer_up_to_an_hour(
    attempt: int, entropy: int, asked: int | None
) -> None:
    pause = pause_us(attempt, entropy, asked)
    assert pause == max(pause_us(attempt, entropy), min(asked or 0, 3_600) * SECOND)
