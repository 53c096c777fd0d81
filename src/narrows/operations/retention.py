"""Retention: what is older than it is kept for goes, in small commits. The service finds the rows by
a read and deletes them by an operation; these values say what is to go."""

from __future__ import annotations

from typing import NamedTuple


class PruneTriggers(NamedTuple):
    """Settled triggers, of all projects, that nobody needs any more. `before` is in microseconds; at most
    `limit` rows go in one commit."""

    before: int
    limit: int
    entropy: int


class PruneRuns(NamedTuple):
    """The same for runs that have ended, with their answers, roots and payloads."""

    before: int
    limit: int
    entropy: int


class PruneRows(NamedTuple):
    """Old rows of a table that go by their age alone (`operations.purge.PRUNABLE`)."""

    table: str
    before: int
    limit: int
