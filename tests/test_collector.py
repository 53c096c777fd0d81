"""The collector of cycles: it leaves alone what lives long, until it is told to look."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from narrows import collector

pytestmark = pytest.mark.usefixtures("settled")


class Link:
    """One half of a cycle."""

    other: Link


@pytest.fixture
def settled() -> Iterator[None]:
    before = gc.get_threshold()
    collector.settle()
    yield
    gc.set_threshold(*before)


def collections() -> list[int]:
    return [each["collections"] for each in gc.get_stats()]


def test_a_cycle_that_outlived_a_young_collection_is_freed_by_the_next_look() -> None:
    one, other = Link(), Link()
    one.other, other.other = other, one
    gone = weakref.ref(one)
    gc.collect(0)
    del one, other
    gc.collect(0)
    assert gone() is not None, "it is no longer young"
    assert collector.look() >= 2
    assert gone() is None


def test_what_lives_long_is_not_looked_at_by_itself() -> None:
    before = collections()
    kept = [[number] for number in range(40 * collector.YOUNG)]
    after = collections()
    assert after[0] - before[0] >= 35, "young collections go on"
    assert after[1:] == before[1:]
    assert len(kept) == 40 * collector.YOUNG


def test_what_may_be_a_leak_is_looked_at() -> None:
    before = collections()
    kept = [[number] for number in range((collector.YOUNG_COLLECTIONS + 5) * collector.YOUNG)]
    assert collections()[1] > before[1]
    assert kept


def test_a_look_costs_nothing_where_nothing_has_outlived_a_young_collection() -> None:
    gc.collect()
    before = collections()
    assert collector.look() == 0
    assert collections() == before
