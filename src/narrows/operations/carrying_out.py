"""The last phase of a turn: what `core.workflows.advance` says becomes facts, rows, open waits, runs and
messages. Everything is loaded first; from then on nothing is asked any more, so that two workflow runs of one
batch see what the other has done (a key that it waits under)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from narrows.core import runs as run_rules
from narrows.core.json_texts import NULL, object_of
from narrows.core.payloads import is_too_large
from narrows.core.states import (
    STEP_ENDED,
    WORKFLOW_RUN_ENDED,
    FactKind,
    MessageKind,
    StepStatus,
    WorkflowRunStatus,
)
from narrows.core.step_states import statuses
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import Step
from narrows.core.workflows import WORKFLOW_ENDED, Advance, Change
from narrows.errors import LimitReached
from narrows.operations.advancing import NOTHING, Loading, Root, Value
from narrows.operations.starting import begin, pause, prepare
from narrows.operations.waits import cancel_run
from narrows.storage.following import decide


def carry_out(root: Root, advance: Advance) -> Loading:
    """Raises Undecided where a held event has to be looked at first."""
    if not advance.changes:
        return
    changed = {change.step for change in advance.changes if change.step is not None}
    yield root.row_touches(changed)
    yield from _load_closing(root, advance.closes)
    result: Value | None = NOTHING
    if advance.status == WorkflowRunStatus.COMPLETED and root.run.parent_run_id is not None:
        yield from root.load_outputs(_last_steps(root.definition), payload=False)
        result = _result(root, advance.steps)
    prepared = yield from prepare(root, advance.starts)
    root.run = root.run._replace(
        status=advance.status, steps=advance.steps, version=root.run.version + 1, hops=root.hops
    )
    for change in advance.changes:
        _record(root, change)
    for step in advance.closes:
        _close(root, step)
    for each in prepared:
        begin(root, each)
    if root.run.status in WORKFLOW_RUN_ENDED:
        _end(root, result)
    root.tx.save(root.run._replace(last_fact_id=root.last_fact_id))


# ---- facts and rows ------------------------------------------------------------------------------


def _record(root: Root, change: Change) -> None:
    """One fact, and the row of what it is about."""
    if change.step is None:
        root.record(change.kind, root.run.id, None if change.error is None else {"error": change.error})
        root.run = root.run._replace(error=change.error)
        return
    step, row = change.step, root.row(change.step)
    detail: dict[str, Any] = {"step_ref": root.step(step).ref}
    if row is not None and row.attempt > 1:
        detail["attempt"] = row.attempt
    if change.error is not None:
        detail["error"] = change.error[:1_000]
    fact_id = root.record(change.kind, root.step_id(step), detail)
    if row is None and change.status in (StepStatus.QUEUED, StepStatus.PENDING):
        return  # it has begun nothing yet: its letter says all
    row = _fresh(root, step) if row is None else row
    row = row._replace(
        version=row.version + 1,
        status=StepStatus(change.status),
        error=change.error,
        last_fact_id=fact_id,
        **_more_of(root, row, change),
    )
    root.tx.save(row)
    if change.kind == FactKind.STEP_RETRIED:
        pause(root, step, row)
    if change.kind == FactKind.STEP_COMPLETED and step in root.emits:
        key = root.emits[step]
        root.send(
            MessageKind.EMIT_EVENT,
            key,
            {"sent_by": f"step:{root.step_id(step)}"},
            root.outputs[step],
            hops=root.hops + 1,
        )


def _fresh(root: Root, step: int) -> Step:
    definition = root.step(step)
    return Step(
        project_id=root.run.project_id,
        workflow_run_id=root.run.id,
        step=step,
        id=root.step_id(step),
        step_ref=definition.ref,
        step_type=definition.type,
        version=0,
        status=StepStatus.PENDING,
        attempt=1,
        output=None,
        output_id=None,
        error=None,
        votes=None,
        run_id=None,
        child_run_id=None,
        wait_group_id=None,
        created_at=root.tx.now,
        started_at=None,
        finished_at=None,
        last_fact_id=None,
    )


def _more_of(root: Root, row: Step, change: Change) -> dict[str, Any]:
    """What beside its state a step's row says after a change."""
    now = root.tx.now
    if change.status in (StepStatus.RUNNING, StepStatus.WAITING):
        return {
            "started_at": now,
            "run_id": None,
            "child_run_id": None,
            "wait_group_id": None,
            "votes": None,
        }
    if change.kind == FactKind.STEP_RETRIED:
        return {"attempt": row.attempt + 1}
    if change.kind == FactKind.STEP_REOPENED:
        root.tx.release_payload(row.project_id, row.output_id)
        return {"attempt": 1, "output": None, "output_id": None, "started_at": None, "finished_at": None}
    if change.kind == FactKind.STEP_COMPLETED:
        output = root.keep(root.outputs.get(row.step, NOTHING))
        return {"output": output.text, "output_id": output.payload_id, "finished_at": now}
    return {"finished_at": now} if change.status in STEP_ENDED else {}


# ---- what is closed --------------------------------------------------------------------------------


def _load_closing(root: Root, closes: Sequence[int]) -> Loading:
    """What goes on of steps that end: their runs and their waits."""
    yield root.row_touches(closes)
    project_id = root.run.project_id
    rows = [row for step in closes if (row := root.row(step)) is not None]
    if rows:
        yield [
            *(("runs_by_id", project_id, row.run_id) for row in rows if row.run_id is not None),
            *(
                ("wait_groups_by_id", project_id, row.wait_group_id)
                for row in rows
                if row.wait_group_id is not None
            ),
        ]


def _close(root: Root, step: int) -> None:
    """Whatever goes on of a step ends with it; a sub-workflow is told by a message."""
    tx, row = root.tx, root.row(step)
    if row is None:
        return
    reason = row.error or WORKFLOW_ENDED
    run = None if row.run_id is None else tx.run(row.project_id, row.run_id)
    if run is not None and not run_rules.has_ended(run):
        cancel_run(tx, run, reason, root.actor, root.entropy)
    group = None if row.wait_group_id is None else tx.wait_group(row.project_id, row.wait_group_id)
    if group is not None:
        decide(tx, group, reason, root.actor, root.entropy)
    if row.child_run_id is not None:
        root.send(MessageKind.CANCEL_WORKFLOW_RUN, row.child_run_id, {"reason": reason})


# ---- the end -----------------------------------------------------------------------------------------


def _last_steps(definition: Definition) -> list[int]:
    """The steps that no other depends on."""
    return [step for step, dependents in enumerate(definition.graph.dependents) if not dependents]


def _result(root: Root, letters: str) -> Value | None:
    """What a parent sees of a workflow run: the outputs of the last steps that have completed. None if that is over
    1 MiB."""
    states = statuses(letters)
    completed = [step for step in _last_steps(root.definition) if states[step] == StepStatus.COMPLETED]
    try:
        text = object_of((root.step(step).ref, root.output(step) or NULL) for step in completed)
    except LimitReached:
        return None
    return None if is_too_large(text) else Value(text)


def _end(root: Root, result: Value | None) -> None:
    """With it its root ends; who started it as a sub-workflow is told."""
    run, tx = root.run, root.tx
    root.run = run._replace(finished_at=tx.now, due_at=None)
    ended = tx.root(run.project_id, run.id)
    if ended is not None:
        tx.save(ended._replace(ended_at=tx.now))
    if run.parent_run_id is not None:
        status, error = run.status, run.error
        if result is None:
            status, error, result = WorkflowRunStatus.FAILED, "its output is over 1 MiB", NOTHING
        body = {"step": run.parent_step, "child_run_id": run.id, "status": status, "error": error}
        root.send(MessageKind.WORKFLOW_RUN_ENDED, run.parent_run_id, body, result)
