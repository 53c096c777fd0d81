"""What a batch reads on PostgreSQL with its locks, so that most batches need no trip to load. Pure.

The locks of names are held when the statement that locks rows begins; it sees what was committed until
then. So these are good to read in it, and nothing else:

- what a lock of a name protects, what never changes, and what no lock protects (`WITH_LOCKS`);
- a row that it locks itself, of a trigger, run or workflow run: it is read under its lock;
- the wait group of such a trigger that is waiting: it came with its trigger, and never changes;
- the root row of such a run or workflow run that has not ended: it came before, or with it, and changes at the end,
  but for what it counts (who counts there asks for it behind the locks);
- that such a trigger is the newest of its key, if it is waiting (only the newest may be) or the key's name is
  locked (nobody opens a wait under it meanwhile). That a key has none, if its name is locked.

Triggers that are read without a lock (`looked.py`) are good as of one moment, and are read beside the first of these.

What a job's queue has for a claim is locked by the statement that finds it, and never waited for: it goes with the
last of the locks (`CLAIMED`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from narrows.core.records import Trigger
from narrows.core.run_records import Run
from narrows.core.states import TriggerStatus
from narrows.core.workflow_records import WorkflowRun
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
        "jobs_by_id",
        "jobs_by_run",
        "jobs_by_slug",
        "projects_by_id",
        "workflows_by_id",
        "workflows_by_slug",
    }
)
CLAIMED: Final = frozenset({"queued_runs_by_job"})
Wanted = Mapping[str, list[Row]]
_STATUS: Final = Trigger._fields.index("status")
_ENDED_RUN: Final = Run._fields.index("finished_at")
_ENDED_WORKFLOW_RUN: Final = WorkflowRun._fields.index("finished_at")
_WAIT_GROUP: Final = Run._fields.index("wait_group_id")
_WORKFLOW_RUN: Final = Run._fields.index("workflow_run_id")


def asked(touches: Iterable[Touch], lookups: frozenset[str]) -> dict[str, list[Row]]:
    """What a batch asks of these lookups, by statement."""
    wanted: dict[str, set[Row]] = {}
    for touch in touches:
        lookup = TO_CHANGE.get(touch[0], touch[0])
        if lookup in lookups:
            wanted.setdefault(lookup, set()).add(touch[1:])
    return {name: sorted(wanted[name]) for name in sorted(wanted)}


class AtHand:
    """What one batch has read with its locks; each lookup is answered from it once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[set[Row], list[Row]]] = {}
        self._rows: dict[str, dict[Row, list[Row]]] = {}

    def keep(self, wanted: Wanted, found: Iterable[list[Row]]) -> None:
        """Keep what was found for statements with all that was asked of them."""
        for (name, keys), rows in zip(wanted.items(), found, strict=True):
            self._read[name] = (set(keys), rows)

    def keep_rows(self, lookup: str, rows: Iterable[Row]) -> None:
        """Keep rows that are named by their project and id."""
        self._rows[lookup] = {(row[0], row[1]): [row] for row in rows}

    def keep_roots(self, workflow_runs: Sequence[Row], runs: Sequence[Row], roots: Sequence[Row]) -> None:
        """Keep workflow runs and runs that were locked, and of those that live the root rows as of before the
        locks. A run that never waited has none, nor has one of a workflow run, which is its root."""
        self.keep_rows("workflow_runs_by_id", workflow_runs)
        self.keep_rows("runs_by_id", runs)
        alive = {row[:2] for row in workflow_runs if row[_ENDED_WORKFLOW_RUN] is None}
        alive |= {row[:2] for row in runs if row[_ENDED_RUN] is None}
        self.keep_rows("roots_by_id", [row for row in roots if row[:2] in alive])
        for row in runs:
            if row[_WAIT_GROUP] is None or row[_WORKFLOW_RUN] is not None:
                self._rows["roots_by_id"].setdefault(row[:2], [])

    def forget_counts(self, touches: Iterable[Touch]) -> None:
        """Leave the root rows in which these want to count to be read behind the locks."""
        for lookup, *key in touches:
            if lookup == "roots_to_count":
                self._rows.get("roots_by_id", {}).pop(tuple(key), None)

    def keep_triggers(self, locked: Sequence[Row], newest: Sequence[Row], needed: locks.Locks) -> None:
        """Keep the rows that were locked, and what they say of the keys that were asked for; `newest` are
        (project, key, id) as of before the locks."""
        names = dict(needed.names)
        self.keep_rows("triggers_by_id", locked)
        by_id = self._rows["triggers_by_id"]
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
        self._rows["triggers_by_key"] = by_key

    def take(self, wanted: Wanted) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
        """What of this is at hand, and what is left to ask."""
        found: dict[str, list[Row]] = {}
        left: dict[str, list[Row]] = {}
        for name, keys in wanted.items():
            asked, rows = self._read.pop(name, (set(), []))
            known = self._rows.get(name, {})
            if asked.issuperset(keys):
                found[name] = rows
                continue
            found[name] = [row for key in keys for row in known.get(key, ())]
            missing = [key for key in keys if key not in known]
            if missing:
                left[name] = missing
        return found, left
