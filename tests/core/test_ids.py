"""Ids: UUIDs of version 7 by RFC 9562, whose order is the order of the stamps."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.ids import MAX_SEQUENCE, first_id_at, is_id, made_at, make_id

NOW = 1_767_225_600_000_000
LATEST = ((1 << 48) - 1) * 1_000
stamps = st.integers(0, LATEST)
sequences = st.integers(0, MAX_SEQUENCE)
entropies = st.integers(0, (1 << 64) + 5_000)


@given(stamps, sequences, entropies)
def test_an_id_is_a_version_7_uuid_of_its_time(now: int, sequence: int, entropy: int) -> None:
    text = make_id(now, sequence, entropy)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == now // 1_000
    assert is_id(text)


@given(stamps, stamps, sequences, sequences, entropies, entropies)
def test_ids_rise_with_stamps_and_sequences(
    one: int, two: int, first: int, second: int, some: int, other: int
) -> None:
    if (one, first) < (two, second):
        assert make_id(one, first, some) < make_id(two, second, other)


@given(stamps, sequences, entropies)
def test_the_bound_of_a_moment_parts_the_ids_before_from_those_after(
    now: int, sequence: int, entropy: int
) -> None:
    assert first_id_at(now) <= make_id(now, sequence, entropy)
    assert make_id(now, sequence, entropy) < first_id_at(now + 1) or now >= LATEST


@pytest.mark.parametrize("moment", [-1, 0, 1, LATEST, LATEST * 2])
def test_bounds_of_odd_moments_are_ids(moment: int) -> None:
    assert is_id(first_id_at(moment))


def test_the_same_entropy_gives_the_same_id_and_another_another() -> None:
    assert make_id(NOW, 1, 5) == make_id(NOW, 1, 5) != make_id(NOW, 1, 6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "019B76DA-A800-7004-8000-1837D652ED82",
        "019b76daa80070048000-1837d652ed82",
        "019b76da-a800-7004-8000-1837d652ed8",
        "019b76da-a800-7004-8000-1837d652ed8g",
        "019b76da-a800-7004-8000-1837d652ed82\n",
        "٠19b76da-a800-7004-8000-1837d652ed82",
    ],
)
def test_what_is_spelled_otherwise_is_no_id(text: str) -> None:
    assert not is_id(text)


@given(stamps, sequences, entropies)
def test_an_id_tells_when_it_was_made(now: int, sequence: int, entropy: int) -> None:
    assert made_at(make_id(now, sequence, entropy)) == now
