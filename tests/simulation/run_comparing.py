"""After every commit the runs of the database have to be those of the model: every column that matters, what
they wait for, how many there are of each job in each state; and no job may have more under way than
it is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.simulation.run_model import Model
from tests.simulation.run_values import STATUSES, ModelRun
from tests.simulation.values import Violation

DUMP_RUNS = """
    select r.project_id, r.id, r.job_id, r.status, r.version, r.priority, r.attempt, r.dispatch, r.due_at,
      r.holder, r.replay_of, r.finished_at,
      case when payload_id is null then payload else (select body from payloads as p
        where p.project_id = r.project_id and p.id = r.payload_id) end,
      case when result_id is null then result else (select body from payloads as p
        where p.project_id = r.project_id and p.id = r.result_id) end,
      case when state_id is null then state else (select body from payloads as p
        where p.project_id = r.project_id and p.id = r.state_id) end,
      (select g.trigger_ids from wait_groups as g
        where g.project_id = r.project_id and g.id = r.wait_group_id)
    from runs as r"""
DUMP_RUN_COUNTERS = f"""
    select job_id, {", ".join(f"sum({status})" for status in STATUSES)} from run_counters group by job_id"""
DUE = 8


def compare_runs(model: Model, runs: Iterable[Any], counters: Iterable[Any]) -> None:
    """Raise a Violation unless the database holds exactly the runs of the model."""
    found = {row[1]: row for row in runs}
    for run in model.runs.values():
        row = found.pop(run.id, None)
        if row is None:
            raise Violation(f"{run} is gone from the database")
        learn_pause(run, row[DUE])
        if row[:-1] != run.row():
            raise Violation(f"the database has {row}, and it had to be {run.row()}")
        _compare_group(model, run, row[-1])
    if found:
        raise Violation(f"the database has runs that nobody started: {found}")
    _compare_counters(model, {row[0]: tuple(row[1:]) for row in counters})


def learn_pause(run: ModelRun, due_at: int | None) -> None:
    """How long a failed attempt pauses is left to chance, within bounds."""
    if run.pause is not None:
        least, most = run.pause
        if due_at is None or not least <= due_at <= most:
            raise Violation(f"{run} is tried again at {due_at}, and not from {least} to {most}")
        run.due_at, run.pause = due_at, None


def _compare_group(model: Model, run: ModelRun, trigger_ids: str | None) -> None:
    """What it waits for is there, and can come. What it waited for may be gone by purge."""
    if run.group is None:
        if trigger_ids is not None:
            raise Violation(f"{run} waits for {trigger_ids}, for which it did not ask")
        return
    ids = [wait.id for wait in run.group.waits]
    if trigger_ids is None:
        if any(wait_id in model.waits for wait_id in ids):
            raise Violation(f"the wait group of {run} is gone, and not all that it waited for")
    elif json.loads(trigger_ids) != ids:
        raise Violation(f"{run} waits for {trigger_ids}, and it asked for {ids}")
    if run.status == "waiting":
        count = sum(wait.status in ("received", "waiting") for wait in run.group.waits)
        received = sum(wait.status == "received" for wait in run.group.waits)
        if count < run.group.needed or received >= run.group.needed:
            raise Violation(f"{run} sleeps for ever: {run.group.waits}")


def _compare_counters(model: Model, found: dict[str, Any]) -> None:
    there_are: dict[str, list[int]] = {job_id: [0] * len(STATUSES) for job_id in found}
    for run in model.runs.values():
        there_are.setdefault(run.job.id, [0] * len(STATUSES))[STATUSES.index(run.status)] += 1
    for job_id, counts in there_are.items():
        job = model.jobs[job_id]
        if list(found.get(job_id, ())) != counts:
            raise Violation(f"the counters of {job} say {found.get(job_id)}, and there are {counts}")
        if job.max_concurrency is not None and counts[STATUSES.index("executing")] > job.max_concurrency:
            raise Violation(f"{counts} runs of {job} are under way at once")
