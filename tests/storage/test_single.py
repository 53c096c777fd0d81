"""Which batches may be one statement on PostgreSQL, and what it has to see to, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.core.records import ApiKey
from narrows.storage import locks
from narrows.storage.backend import Touch
from narrows.storage.single import may_be_single, single

CREDENTIAL = ("api_keys_by_id", "k1")
NAMED = [("triggers_by_key", "p", "a"), ("triggers_by_id", "p", "t")]


def _key(**values: Any) -> tuple[Any, ...]:
    values = {"id": "k1"} | values
    return tuple(values.get(name) for name in ApiKey._fields)


@pytest.mark.parametrize("touches", [[NAMED[0]], [NAMED[1]], [CREDENTIAL, *NAMED, *NAMED]])
def test_a_batch_that_names_triggers_and_credentials_may_be_one(touches: list[Touch]) -> None:
    assert may_be_single(touches, locks.needed(touches))


@pytest.mark.parametrize(
    "more",
    [
        ("api_keys_to_change", "k1"),
        ("triggers_to_change", "p", "t"),
        ("held_by_key", "p", "a"),
        ("held_by_event_id", "p", "a", "e"),
        ("idempotency_by_scope", "s"),
        ("counters_by_project", "p"),
        ("callback_urls_by_hash", "h"),
        ("jobs_by_slug", "p", "j"),
        ("runs_by_id", "p", "r"),
    ],
)
def test_a_batch_that_names_anything_else_may_not(more: Touch) -> None:
    touches = [CREDENTIAL, *NAMED, more]
    assert not may_be_single(touches, locks.needed(touches))


def test_a_batch_that_names_no_trigger_has_nothing_to_look_at() -> None:
    assert not may_be_single([CREDENTIAL], locks.needed([CREDENTIAL]))


@pytest.mark.parametrize(
    ("values", "is_good"),
    [
        ({}, True),
        ({"expires_at": 101}, True),
        ({"expires_at": 100}, False),
        ({"expires_at": 0}, False),
        ({"revoked_at": 1}, False),
    ],
)
def test_it_sees_to_the_keys_that_were_good_as_it_looked(values: dict[str, int], is_good: bool) -> None:
    """A refusal because of one that was not is right as of then."""
    touches = [CREDENTIAL, *NAMED]
    found = single(touches, locks.needed(touches), [_key(**values)], 100)
    assert found.api_keys == (["k1"] if is_good else [])
    assert found.names == [locks.name_of("credential", "k1")]
