"""Of a sequence that fails, few steps that fail in the same way: steps are left out, many at once and then
fewer, as long as what is left still fails. Steps are values, and an id comes from the time and the bits that
its operation carries, so that what is left does the same as before."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

from tests.differential.sequence import Found, Plant, once
from tests.differential.steps import Step

#: Everything is compared at the end alone, which is where these sequences fail.
SELDOM = 1 << 40


def shrink(found: Found, names: Iterable[str], *, plant: Plant | None = None, secs: float = 60) -> Found:
    """The shortest that is found in so many seconds."""
    until, names = time.perf_counter() + secs, tuple(names)
    size = len(found.steps) // 2
    while size:
        start = 0
        while start < len(found.steps) - 1:
            if time.perf_counter() > until:
                return found
            shorter = _fails(found, _without(found.steps, start, size), names, plant)
            if shorter is None:
                start += size
            else:
                found = shorter
        size //= 2
    return found


def _without(steps: Sequence[Step], start: int, size: int) -> list[Step]:
    """The last one, which fails, stays. Time goes on as if nothing had been left out."""
    end = min(start + size, len(steps) - 1)
    missed_us = sum(step.after_us for step in steps[start:end])
    following = steps[end]._replace(after_us=steps[end].after_us + missed_us)
    return [*steps[:start], following, *steps[end + 1 :]]


def _fails(found: Found, steps: Sequence[Step], names: Sequence[str], plant: Plant | None) -> Found | None:
    """What these steps come to, if it is of the same kind and concerns the same."""
    try:
        once(found.seed, steps, names, plant=plant, every=SELDOM)
    except Found as other:
        if _kind_of(other) == _kind_of(found):
            return other
    return None


def _kind_of(found: Found) -> tuple[object, ...]:
    """What differed, at which kind of step: an operation that was made for another state may well fail in
    another way."""
    what, _, _ = str(found.problem).partition(":")
    return type(found.problem), re.sub(r"\d+", "", what), found.steps[-1].asked.name
