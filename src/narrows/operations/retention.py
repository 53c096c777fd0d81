"""Retention: what is older than it is kept for goes, in small commits. The service finds the rows by
a read and deletes them by an operation; these values say what is to go, and how far one commit came."""

from __future__ import annotations

from typing import NamedTuple

from narrows.operations.reads.retention import START, RowPlace


class PruneTriggers(NamedTuple):
    """Settled triggers, of all projects, that nobody needs any more. `before` is in microseconds; at most
    `limit` rows, from `after` on, are looked at for one commit."""

    before: int
    limit: int
    entropy: int
    after: RowPlace = START


class PruneRuns(NamedTuple):
    """The same for runs that have ended, with their answers, roots and payloads."""

    before: int
    limit: int
    entropy: int
    after: RowPlace = START


class PruneWorkflowRuns(NamedTuple):
    """The same for workflow runs that have ended, with their steps, roots and payloads; these steps are counted
    among the rows that are looked at."""

    before: int
    limit: int
    entropy: int
    after: RowPlace = START


class PruneRows(NamedTuple):
    """Old rows of a table that go by their age alone (`operations.purge.PRUNABLE`)."""

    table: str
    before: int
    limit: int
    after: RowPlace = START


class Pruned(NamedTuple):
    """What one commit deleted, and where the next goes on, so that what had to stay is not looked at again;
    None at the end."""

    deleted: int
    next_after: RowPlace | None
