"""RFC 3339 in and out."""

from __future__ import annotations

import pytest

from narrows.core.records import NEVER
from narrows.errors import InvalidRequest
from narrows.wire.times import from_text, is_time, to_text

PAIRS = [
    (0, "1970-01-01T00:00:00Z"),
    (1_000_000 * 1_795_466_444, "2026-11-23T20:40:44Z"),
    (1_000_000 * 1_795_466_444 + 120, "2026-11-23T20:40:44.000120Z"),
    (NEVER, "9999-12-31T23:59:59Z"),
    (-1, "1969-12-31T23:59:59.999999Z"),
]


@pytest.mark.parametrize(("at", "text"), PAIRS)
def test_a_time_is_the_same_in_both_directions(at: int, text: str) -> None:
    assert to_text(at) == text
    assert from_text(text) == at


def test_offsets_and_long_fractions_are_understood() -> None:
    assert from_text("1970-01-01T01:00:00.5+01:00") == 500_000
    assert from_text("1970-01-01t00:00:00.1234567z") == 123_456


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-23", "2026-11-23T20:40:44", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59x", "1"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        from_text(text)
    assert not is_time(text) or text.startswith("2026-13")
