"""The triggers that a batch on PostgreSQL has read and not locked: most belong to no run, and all that most
batches do with them is to settle them. Pure.

Nothing locks them between the look and the writes. What it saw was true at one moment after the batch was taken, on a
server that takes changes, so that a refusal, which changes nothing, is right as of then; and the statement that settles
a trigger finds its row at the place where that was, and does so only if nobody has changed it since (its version says
so). If somebody has, the batch begins again, and locks it first, like everything that is not settled but changed in
another way. So it does if the look is old by then (it waited for a lock, or the node stood still), since a trigger may
be overdue that was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final

from narrows.core.records import Trigger
from narrows.storage.backend import Row, Touch, Write
from narrows.storage.together import verb_and_table

#: How old a look may be at the end of the statement that settles.
LATE_SECS: Final = 2.0
#: The lookups that find triggers, and the statements that tell the places of their rows too, as the last column.
LOOKS: Final = {"triggers_by_key": "look_by_key", "triggers_by_id": "look_by_id"}
#: The statement that settles triggers, and the one that sees whether they are as they were.
SETTLE: Final = "settle_triggers"
SETTLE_LOOKED: Final = "settle_looked_triggers"
_ROOT: Final = Trigger._fields.index("root_id")
_JOB_RUN: Final = Trigger._fields.index("job_run_id")
_KEY: Final = Trigger._fields.index("event_key")
_VERSION: Final = Trigger._fields.index("version")
_NOTIFY_STATUS: Final = Trigger._fields.index("notify_status")
_PLACE: Final = -1


def without_places(lookup: str, rows: list[Row]) -> list[Row]:
    """The rows that a lookup found, as without a look."""
    return [row[:_PLACE] for row in rows] if lookup in LOOKS else rows


def belongs_to_a_run(trigger: Row) -> bool:
    """Whether a lock of something else guards this trigger: it is changed together with that."""
    return trigger[_ROOT] is not None or trigger[_JOB_RUN] is not None


class Looked:
    """What was read so, by project and id. `rows` have the place behind a trigger's columns."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._seen: dict[Row, Row] = {row[:2]: row for row in rows}

    def __contains__(self, trigger: Row) -> bool:
        return trigger[:2] in self._seen

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

    def by_places(self, rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """These rows, by statement; before all others, as it locks them, what is settled of this, in the order of ids."""
        settled = rows.get(SETTLE, [])
        if not settled or settled[0] not in self:
            return dict(rows)
        placed = [
            (*row, seen[_NOTIFY_STATUS], seen[_PLACE])
            for row in sorted(settled, key=itemgetter(0, 1))
            for seen in [self._seen[row[:2]]]
        ]
        return {SETTLE_LOOKED: placed, **{name: given for name, given in rows.items() if name != SETTLE}}

    def touches(self, rows: Iterable[Row]) -> set[Touch]:
        """What locks those of these rows that are of this."""
        return self._touches({row[:2] for row in rows})

    def under(self, touches: Iterable[Touch]) -> set[Touch]:
        """What locks those of this whose keys are named."""
        keys = {touch[1:] for touch in touches}
        return self._touches({each for each, seen in self._seen.items() if (each[0], seen[_KEY]) in keys})

    def _is_further(self, row: Row) -> bool:
        """Rows that settle have the version behind project and id."""
        seen = self._seen.get(row[:2])
        return seen is not None and seen[_VERSION] + 1 != row[2]

    def _touches(self, keys: set[Row]) -> set[Touch]:
        return {("triggers_to_change", *key) for key in keys & self._seen.keys()}


def _changes_triggers(statement: str) -> bool:
    verb, table = verb_and_table(statement)
    return (table, verb) in {("triggers", "update"), ("triggers", "delete")}
