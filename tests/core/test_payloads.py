"""When two payloads are equal: as JSON values, to the last digit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.payloads import QUICK_COMPARE_BYTES, equal, quickly_equal

EQUAL = [
    (None, None),
    ("null", "null"),
    ("1", "1.0"),
    ("1", "1e0"),
    ("100", "1E2"),
    ("-0", "0"),
    ("0.1", "0.10"),
    ("123456789012345678901234567890", "123456789012345678901234567890.0"),
    ('{"a":1,"b":2}', '{"b":2,"a":1}'),
    ('{"a":[1,{"b":null}]}', ' { "a" : [ 1.0 , { "b" : null } ] } '),
    ('"\\u00fc"', '"ü"'),
    ('"\\ud800"', '"\\uD800"'),
    ("1e400", "10e399"),
    ("1e99999999999999999999", "1e99999999999999999999"),
    ("[1e99999999999999999999]", "[ 1e99999999999999999999 ]"),
]
DIFFERENT = [
    (None, "null"),
    ("1", "true"),
    ("0", "false"),
    ("1", '"1"'),
    ("null", "false"),
    ("[]", "{}"),
    ("[1,2]", "[2,1]"),
    ("[1]", "[1,1]"),
    ('{"a":1}', '{"a":1,"b":null}'),
    ('{"a":null}', "{}"),
    ("0.1", "0.1000000000000000055511151231257827"),
    ("123456789012345678901234567890", "123456789012345678901234567891"),
    ("9007199254740993", "9007199254740992"),
    ("1e400", "1e401"),
    ("1e99999999999999999999", "2e99999999999999999999"),
    ("1e99999999999999999999", "1"),
    ('"a"', '"A"'),
    ('"ü"', '"u\\u0308"'),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one: str | None, other: str | None) -> None:
    assert equal(one, other)
    assert equal(other, one)
    assert quickly_equal(one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str | None, other: str | None) -> None:
    assert not equal(one, other)
    assert not equal(other, one)
    assert quickly_equal(one, other) is False


def test_large_ones_are_not_compared_quickly_unless_they_are_spelled_alike() -> None:
    large = json.dumps(["x" * QUICK_COMPARE_BYTES])
    assert quickly_equal(large, large) is True
    assert quickly_equal(large, large + " ") is None
    assert quickly_equal(large, None) is False
    assert equal(large, large + " ")


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _strict(value: Any) -> Any:
    """A value that is equal to another only if both are so as JSON values."""
    if isinstance(value, dict):
        return ("object", sorted((name, _strict(inner)) for name, inner in value.items()))
    if isinstance(value, list):
        return ("array", [_strict(inner) for inner in value])
    return (type(value).__name__, repr(value))


@given(values, values)
def test_it_agrees_with_the_plainest_model(one: Any, other: Any) -> None:
    assert equal(json.dumps(one), json.dumps(one, indent=1, ensure_ascii=False))
    assert equal(json.dumps(one), json.dumps(other)) == (_strict(one) == _strict(other))
