"""Limits of the server that are met in every simulation, since they are set so low."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from narrows.engine import expire, held, prune
from narrows.operations import handing, many_commits

#: So small that a few waits already take several chunks, pages and operations.
SMALL_LIMITS = (
    (handing, "MAX_HANDED", 2),
    (many_commits, "CHUNK", 2),
    (many_commits, "PURGE_CHUNK", 2),
    (expire, "PAGE", 3),
    (expire, "LOW", 2),
    (expire, "MOST_IN_MEMORY", 8),
    (expire, "TRIGGERS_AN_OPERATION", 2),
    (held, "EVENTS_AN_OPERATION", 2),
    (prune, "ROWS_AN_OPERATION", 5),
)


@contextlib.contextmanager
def small_limits() -> Iterator[None]:
    before = [getattr(module, name) for module, name, _ in SMALL_LIMITS]
    for module, name, value in SMALL_LIMITS:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(SMALL_LIMITS, before, strict=True):
            setattr(module, name, value)
