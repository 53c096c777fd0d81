"""The statistics of a unit of work: by how much each counter changes. Written in the same commit as the
records that they count, so that they equal the counts of the lists. It knows records, no rule."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from narrows.core.records import HeldEvent, Trigger
from narrows.core.run_records import Run, RunCounters
from narrows.core.states import WORKFLOW_RUN_ENDED, HeldStatus, TriggerStatus
from narrows.core.workflow_records import WorkflowRun, WorkflowRunCounters

#: Columns of `Counters` after project and writer.
_TRIGGER_COLUMN = {
    TriggerStatus.WAITING: 0,
    TriggerStatus.RECEIVED: 1,
    TriggerStatus.TIMED_OUT: 2,
    TriggerStatus.CANCELED: 3,
}
_WAIT_US = 4
_HELD = 5
_WORKFLOW_RUNS = 6
#: A run's column is named like its status.
_RUN_COLUMNS = RunCounters._fields[3:]
_RUN_COLUMN = {name: number for number, name in enumerate(_RUN_COLUMNS)}
#: A workflow run's as well.
_WORKFLOW_RUN_COLUMNS = WorkflowRunCounters._fields[3:]
_WORKFLOW_RUN_COLUMN = {name: number for number, name in enumerate(_WORKFLOW_RUN_COLUMNS)}


class Statistics:
    """Deltas by project, by held key, by job, and by workflow."""

    __slots__ = ("_held_by_key", "_projects", "_runs", "_workflow_runs")

    def __init__(self) -> None:
        self._projects: dict[str, list[int]] = {}
        self._held_by_key: dict[tuple[str, str], int] = defaultdict(int)
        self._runs: dict[tuple[str, str], list[int]] = {}
        self._workflow_runs: dict[tuple[str, str], list[int]] = {}

    # ---- what has changed so far -------------------------------------------------------------

    def waiting(self, project_id: str) -> int:
        return self._project(project_id)[0]

    def held(self, project_id: str) -> int:
        return self._project(project_id)[_HELD]

    def workflow_runs(self, project_id: str) -> int:
        return self._project(project_id)[_WORKFLOW_RUNS]

    def held_by_key(self, project_id: str, event_key: str) -> int:
        return self._held_by_key[project_id, event_key]

    def runs(self, project_id: str, job_id: str, status: str) -> int:
        deltas = self._runs.get((project_id, job_id))
        return 0 if deltas is None else deltas[_RUN_COLUMN[status]]

    # ---- a change ----------------------------------------------------------------------------

    def count(self, old: Any, new: Any) -> None:
        """A record was saved (both there, or `old` None) or deleted (`new` None)."""
        kind = type(new if old is None else old)
        if kind is Trigger:
            self._count_trigger(old, -1)
            self._count_trigger(new, 1)
        elif kind is HeldEvent:
            self._count_held(old, -1)
            self._count_held(new, 1)
        elif kind is Run:
            self._count_run(old, -1)
            self._count_run(new, 1)
        elif kind is WorkflowRun:
            self._count_workflow_run(old, -1)
            self._count_workflow_run(new, 1)

    def _count_trigger(self, trigger: Trigger | None, sign: int) -> None:
        if trigger is not None:
            deltas = self._project(trigger.project_id)
            deltas[_TRIGGER_COLUMN[trigger.status]] += sign
            if trigger.received_at is not None:
                deltas[_WAIT_US] += sign * (trigger.received_at - trigger.requested_at)

    def _count_held(self, event: HeldEvent | None, sign: int) -> None:
        if event is not None and event.status == HeldStatus.HELD:
            self._project(event.project_id)[_HELD] += sign
            self._held_by_key[event.project_id, event.event_key] += sign

    def _count_run(self, run: Run | None, sign: int) -> None:
        if run is not None:
            deltas = self._runs.setdefault((run.project_id, run.job_id), [0] * len(_RUN_COLUMNS))
            deltas[_RUN_COLUMN[run.status]] += sign

    def _count_workflow_run(self, run: WorkflowRun | None, sign: int) -> None:
        if run is not None:
            key = (run.project_id, run.workflow_id)
            deltas = self._workflow_runs.setdefault(key, [0] * len(_WORKFLOW_RUN_COLUMNS))
            deltas[_WORKFLOW_RUN_COLUMN[run.status]] += sign
            if run.status not in WORKFLOW_RUN_ENDED:
                self._project(run.project_id)[_WORKFLOW_RUNS] += sign

    def _project(self, project_id: str) -> list[int]:
        deltas = self._projects.get(project_id)
        if deltas is None:
            deltas = self._projects[project_id] = [0, 0, 0, 0, 0, 0, 0]
        return deltas

    # ---- what is written ---------------------------------------------------------------------

    def rows(self, writer: str) -> list[tuple[Any, ...]]:
        """Of `add_counters`."""
        return [(project_id, writer, *deltas) for project_id, deltas in self._projects.items() if any(deltas)]

    def run_rows(self, writer: str) -> list[tuple[Any, ...]]:
        """Of `add_run_counters`."""
        return [(*key[:2], writer, *deltas) for key, deltas in self._runs.items() if any(deltas)]

    def workflow_run_rows(self, writer: str) -> list[tuple[Any, ...]]:
        """Of `add_workflow_run_counters`."""
        return [(*key, writer, *deltas) for key, deltas in self._workflow_runs.items() if any(deltas)]
