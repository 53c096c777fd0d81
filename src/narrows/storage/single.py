"""A batch on PostgreSQL that does nothing but settle triggers it has only looked at (`looked.py`) is one statement, and
so a transaction by itself: nothing is begun, locked or committed for it. Pure.

What the look saw was true at one moment after the batch was taken, so that a refusal is right as of then. For what it
writes the statement sees to it that the rest is still so: a trigger is settled only as it was seen, and at its end
`narrows_still_so` (a migration) looks whether all rows have changed that were to, locks the names of the credentials
as every batch does, and reads their keys again. If anything is otherwise, nothing has happened, and the batch begins
again with its locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from narrows.core.records import ApiKey
from narrows.storage.backend import Row, Touch
from narrows.storage.locks import Locks
from narrows.storage.looked import LOOKS

#: All that such a batch may name.
_NAMED: Final = LOOKS.keys() | {"api_keys_by_id"}


class Single(NamedTuple):
    """What the batch names, the names of its credentials, and those API keys that were good as it looked."""

    touches: frozenset[Touch]
    names: list[int]
    api_keys: list[str]


def may_be_single(touches: Iterable[Touch], needed: Locks) -> bool:
    """Whether a look may be all that the batch needs before it writes."""
    return needed.are_triggers_alone and all(touch[0] in _NAMED for touch in touches)


def single(touches: Iterable[Touch], needed: Locks, keys: Sequence[Row], now: int) -> Single:
    """`keys` are rows of API keys as they were at the time `now`, in microseconds."""
    found = [ApiKey(*row) for row in keys]
    good = [
        key.id for key in found if key.revoked_at is None and (key.expires_at is None or key.expires_at > now)
    ]
    return Single(frozenset(touches), [number for number, _ in needed.names], good)
