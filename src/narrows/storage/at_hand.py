"""What a batch reads on PostgreSQL with its locks, so that most batches need no trip to load. Pure.

The locks of names are held when the statement that locks rows begins; it sees what was committed until
then. So these are good to read in it, and nothing else:

- what a lock of a name protects, what never changes, and what no lock protects (`WITH_LOCKS`);
- a trigger that it locks itself: the row is read under its lock;
- that this trigger is the newest of its key, if it is waiting (only the newest may be) or the key's name is
  locked (nobody opens a wait under it meanwhile). That a key has none, if its name is locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from narrows.core.records import Trigger
from narrows.core.states import TriggerStatus
from narrows.storage import locks
from narrows.storage.backend import Row, Touch
from narrows.storage.lookups import TO_CHANGE

#: The lookups that are asked beside the locks of rows: no lock that is taken later protects what they find.
WITH_LOCKS: Final = frozenset(
    {
        "api_keys_by_id",
        "callback_urls_by_hash",
        "counters_by_project",
        "held_by_event_id",
        "held_by_key",
        "held_tally_by_key",
        "idempotency_by_scope",
        "projects_by_id",
    }
)
Wanted = Mapping[str, list[Row]]
_STATUS: Final = Trigger._fields.index("status")


def with_locks(touches: Iterable[Touch]) -> dict[str, list[Row]]:
    """What of a batch is asked beside its locks, by statement."""
    wanted: dict[str, set[Row]] = {}
    for named, *key in touches:
        lookup = TO_CHANGE.get(named, named)
        if lookup in WITH_LOCKS:
            wanted.setdefault(lookup, set()).add(tuple(key))
    return {name: sorted(wanted[name]) for name in sorted(wanted)}


class AtHand:
    """What one batch has read with its locks; each lookup is answered from it once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[set[Row], list[Row]]] = {}
        self._triggers: dict[str, dict[Row, list[Row]]] = {}

    def keep(self, wanted: Wanted, found: Iterable[list[Row]]) -> None:
        """Keep what was found for the statements of `with_locks`."""
        for (name, keys), rows in zip(wanted.items(), found, strict=True):
            self._read[name] = (set(keys), rows)

    def keep_triggers(self, locked: Sequence[Row], newest: Sequence[Row], needed: locks.Locks) -> None:
        """Keep the rows that were locked, and what they say of the keys that were asked for; `newest` are
        (project, key, id) as of before the locks."""
        names = dict(needed.names)
        by_id = {(row[0], row[1]): [row] for row in locked}
        before = {(project_id, key): (project_id, trigger_id) for project_id, key, trigger_id in newest}
        by_key: dict[Row, list[Row]] = {}
        for project_id, key in needed.trigger_keys:
            is_held = names.get(locks.key_name(project_id, key), False)
            trigger = before.get((project_id, key))
            if trigger is None:
                if is_held:
                    by_key[project_id, key] = []
            elif trigger in by_id and (is_held or by_id[trigger][0][_STATUS] == TriggerStatus.WAITING):
                by_key[project_id, key] = by_id[trigger]
        self._triggers = {"triggers_by_id": by_id, "triggers_by_key": by_key}

    def take(self, wanted: Wanted) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
        """What of this is at hand, and what is left to ask."""
        found: dict[str, list[Row]] = {}
        left: dict[str, list[Row]] = {}
        for name, keys in wanted.items():
            asked, rows = self._read.pop(name, (set(), []))
            known = self._triggers.get(name, {})
            if asked.issuperset(keys):
                found[name] = rows
                continue
            found[name] = [row for key in keys for row in known.get(key, ())]
            missing = [key for key in keys if key not in known]
            if missing:
                left[name] = missing
        return found, left
