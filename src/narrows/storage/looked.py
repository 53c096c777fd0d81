"""The triggers that a batch on PostgreSQL has read and not locked: most belong to no run, and all that most
batches do with them is to settle them. Pure.

Nothing locks them between the look and the writes. What it saw was true at one moment after the batch was taken,
so that a refusal, which changes nothing, is right as of then; and the statement that settles a trigger does so only
if nobody has changed it since (its version says so). If somebody has, the batch begins again, and locks it first,
like everything that is not settled but changed in another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from narrows.core.records import Trigger
from narrows.storage.backend import Row, Touch, Write
from narrows.storage.together import verb_and_table

#: The lookups that find triggers.
TRIGGERS: Final = frozenset({"triggers_by_key", "triggers_by_id"})
#: The one statement that sees whether a trigger is as it was.
SETTLE: Final = "settle_triggers"
_ROOT: Final = Trigger._fields.index("root_id")
_JOB_RUN: Final = Trigger._fields.index("job_run_id")
_VERSION: Final = Trigger._fields.index("version")


def belongs_to_a_run(trigger: Row) -> bool:
    """Whether a lock of something else guards this trigger: it is changed together with that."""
    return trigger[_ROOT] is not None or trigger[_JOB_RUN] is not None


class Looked:
    """What was read so, by project and id, with the version that each had."""

    def __init__(self, triggers: Iterable[Row] = ()) -> None:
        self._versions: dict[Row, int] = {row[:2]: int(row[_VERSION]) for row in triggers}

    def __contains__(self, trigger: Row) -> bool:
        return trigger[:2] in self._versions

    def to_lock(self, writes: Sequence[Write]) -> set[Touch]:
        """What these writes change that has to be locked for it: more than one step at a time, or by another
        statement than the one that settles. What it has settled, this transaction holds."""
        settled: set[Row] = set()
        also: set[Row] = set()
        for write in writes:
            if write.statement == SETTLE:
                settled.update(row[:2] for row in write.rows)
                also.update(row[:2] for row in write.rows if self._is_further(row))
            elif _changes_triggers(write.statement):
                also.update({row[:2] for row in write.rows} - settled)
        return self._touches(also)

    def settled_by(self, rows: Iterable[Row]) -> set[Touch]:
        """What of this these rows settle: not all of it was as it had been."""
        return self._touches({row[:2] for row in rows})

    def _is_further(self, row: Row) -> bool:
        """Rows that settle have the version behind project and id."""
        known = self._versions.get(row[:2])
        return known is not None and known + 1 != row[2]

    def _touches(self, keys: set[Row]) -> set[Touch]:
        return {("triggers_to_change", *key) for key in keys & self._versions.keys()}


def _changes_triggers(statement: str) -> bool:
    verb, table = verb_and_table(statement)
    return (table, verb) in {("triggers", "update"), ("triggers", "delete")}
