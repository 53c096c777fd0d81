"""After every commit the workflow runs of the database have to be those of the model: the states of all steps, what they
do, their outputs, how often they were tried; and the messages have to be those that are still to be consumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests.simulation.comparing import DUMP_COUNTERS, DUMP_HELD, DUMP_TRIGGERS, compare
from tests.simulation.run_comparing import DUMP_RUN_COUNTERS, DUMP_RUNS, compare_runs
from tests.simulation.run_values import ModelRun
from tests.simulation.values import Violation, same_json
from tests.simulation.workflow_model import WorkflowModel
from tests.simulation.workflow_seen import HELD, MESSAGES, STEP_RUNS, STEP_TRIGGERS, Query, SeenMessage
from tests.simulation.workflow_values import Child, ModelMessage, ModelStep, ModelWorkflowRun, StepGroup

#: In both dialects.
DUMP_WORKFLOW_RUNS = """
    select project_id, id, workflow_id, workflow_version, status, steps, parent_run_id, depth, hops, retry_of,
      due_at, finished_at, case when payload_id is null then payload else (select body from payloads as p
        where p.project_id = w.project_id and p.id = w.payload_id) end
    from workflow_runs as w"""
DUMP_STEPS = """
    select workflow_run_id, step_ref, status, attempt, case when output_id is null then output
      else (select body from payloads as p where p.project_id = s.project_id and p.id = s.output_id) end,
      votes, run_id, child_run_id, wait_group_id
    from steps as s"""
DUMP_WAIT_GROUPS = (
    "select id, trigger_ids, needed, has_veto from wait_groups where workflow_run_id is not null"
)
DUMP_WORKFLOW_RUN_COUNTERS = """
    select workflow_id, sum(running), sum(paused), sum(completed), sum(failed), sum(timed_out), sum(canceled)
    from workflow_run_counters group by workflow_id"""
COUNTED = ("running", "paused", "completed", "failed", "timed_out", "canceled")
LETTERS = {
    "pending": "p", "queued": "q", "running": "r", "waiting": "w", "delayed": "d", "completed": "c",
    "failed": "f", "timed_out": "t", "skipped": "s", "canceled": "x",
}  # fmt: skip
NOT_BEGUN = ("pending", "queued")

#: Everything that is compared, and looked for ids.
DUMPS = (
    DUMP_TRIGGERS, DUMP_HELD, DUMP_COUNTERS, DUMP_RUNS, DUMP_RUN_COUNTERS, DUMP_WORKFLOW_RUNS, DUMP_STEPS,
    DUMP_WAIT_GROUPS, DUMP_WORKFLOW_RUN_COUNTERS, STEP_TRIGGERS, STEP_RUNS, MESSAGES, HELD,
)  # fmt: skip


def compare_everything(model: WorkflowModel, query: Query) -> None:
    """Raise a Violation unless the database holds exactly what the model does."""
    compare(model, query(DUMP_TRIGGERS), query(DUMP_HELD), query(DUMP_COUNTERS))
    compare_runs(model, query(DUMP_RUNS), query(DUMP_RUN_COUNTERS))
    compare_workflows(
        model, query(DUMP_WORKFLOW_RUNS), query(DUMP_STEPS), query(DUMP_WAIT_GROUPS),
        query(DUMP_WORKFLOW_RUN_COUNTERS), model.seen.messages(),
    )  # fmt: skip


def compare_workflows(
    model: WorkflowModel,
    runs: Iterable[Sequence[Any]],
    steps: Iterable[Sequence[Any]],
    groups: Iterable[Sequence[Any]],
    counters: Iterable[Sequence[Any]],
    messages: Iterable[SeenMessage],
) -> None:
    """Raise a Violation unless the database holds exactly the workflow runs of the model."""
    found = {row[1]: tuple(row) for row in runs}
    rows: dict[tuple[str, str], Sequence[Any]] = {(row[0], row[1]): row for row in steps}
    waits = {row[0]: row for row in groups}
    for run in model.workflow_runs.values():
        row = found.pop(run.id, None)
        if row is None:
            raise Violation(f"the workflow run {run.id} is gone from the database")
        _compare_run(run, row)
        for ref, doing in run.doings.items():
            step = rows.pop((run.id, ref), None)
            # A look at each costs more than the rest of the simulation: what is as it was at the last look is right.
            now = (step, run.now[ref], doing.attempt, doing.output, len(doing.votes), doing.work, run.run)
            if doing.looked_at != now:
                _compare_step(run, doing, step, waits)
                doing.looked_at = now
    if found or rows:
        raise Violation(f"the database has workflow runs or steps that nobody started: {found} {rows}")
    _compare_counters(model, {row[0]: tuple(row[1:]) for row in counters})
    _compare_messages(model, {message.id: message for message in messages})


def _compare_run(run: ModelWorkflowRun, row: Sequence[Any]) -> None:
    letters = "".join(LETTERS[state] for state in run.now.values())
    parent_id = None if run.parent is None else run.parent[0]
    meant = (
        run.project_id, run.id, run.workflow_id, run.version, run.run, letters, parent_id, run.depth, run.hops,
        run.retry_of, run.due_at, run.finished_at, run.payload,
    )  # fmt: skip
    if tuple(row) != meant:
        raise Violation(f"the database has the workflow run {tuple(row)}, and it had to be {meant}")


def _compare_step(
    run: ModelWorkflowRun, doing: ModelStep, row: Sequence[Any] | None, groups: dict[str, Sequence[Any]]
) -> None:
    ref, state = doing.plan.ref, run.now[doing.plan.ref]
    if row is None:
        if state in NOT_BEGUN or (state == "canceled" and run.has_ended):
            return
        raise Violation(f"the step {run.step_id(ref)} is {state} and has no row")
    _, _, status, attempt, output, votes, run_id, child_id, group_id = row
    never_began = run.has_ended and state == "canceled" and status in NOT_BEGUN
    if (status != state and not never_began) or attempt != doing.attempt:
        raise Violation(
            f"the database has the step {row}, and it had to be {state} by attempt {doing.attempt}"
        )
    if not same_json(output, doing.output):
        raise Violation(f"the database has the step {row}, and its output had to be {doing.output}")
    said = [vote[:3] for vote in json.loads(votes or "[]")]
    if state not in NOT_BEGUN and said != [
        [each.approver, each.approves, each.comment] for each in doing.votes
    ]:
        raise Violation(f"the database has the step {row}, and its votes had to be {doing.votes}")
    work = doing.work
    if state == "running" and isinstance(work, ModelRun) and run_id != work.id:
        raise Violation(f"the step {row} runs {run_id}, and it had to be {work}")
    if state == "running" and isinstance(work, Child) and child_id != work.id:
        raise Violation(f"the step {row} runs {child_id}, and it had to be {work}")
    if state in ("waiting", "delayed"):
        _compare_group(row, work, groups.get(group_id))


def _compare_group(row: Sequence[Any], work: Any, group: Sequence[Any] | None) -> None:
    if not isinstance(work, StepGroup) or group is None:
        raise Violation(f"the step {row} waits for {group}, and it had to be {work}")
    _, trigger_ids, needed, has_veto = group
    meant = ([wait.id for wait in work.waits], work.needed, work.veto)
    if (json.loads(trigger_ids), needed, bool(has_veto)) != meant:
        raise Violation(f"the step {row} waits for {group}, and it had to be {meant}")


def _compare_counters(model: WorkflowModel, found: dict[str, Any]) -> None:
    there_are: dict[str, list[int]] = {workflow_id: [0] * len(COUNTED) for workflow_id in found}
    for run in model.workflow_runs.values():
        there_are.setdefault(run.workflow_id, [0] * len(COUNTED))[COUNTED.index(run.run)] += 1
    for workflow_id, counts in there_are.items():
        if list(found.get(workflow_id, ())) != counts:
            raise Violation(
                f"the counters of the workflow {workflow_id} say {found.get(workflow_id)}, and there are {counts}"
            )


def _compare_messages(model: WorkflowModel, found: dict[str, SeenMessage]) -> None:
    for message in model.messages.values():
        row = found.pop(message.id, None)
        if row is None or not _is_same(message, row):
            raise Violation(f"the database has the message {row}, and it had to be {message}")
    if found:
        raise Violation(f"the database has messages that nobody sent, or that were consumed: {found}")


def _is_same(message: ModelMessage, row: SeenMessage) -> bool:
    same_body = all(row.body.get(name) == value for name, value in message.body.items())
    return same_body and row[:5] == message.row() and same_json(row.payload, message.payload)
