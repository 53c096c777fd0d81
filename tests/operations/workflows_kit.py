"""Workflows, their runs and steps for the tests of reads: records with everything that a test does not care
about filled in."""

from __future__ import annotations

from typing import Any

from narrows.core.states import StepStatus, StepType, WorkflowRunStatus
from narrows.core.workflow_records import Step, Workflow, WorkflowRun
from tests.operations.reads_kit import NOW, SECOND


def make_workflow(workflow_id: str, slug: str, **changes: Any) -> Workflow:
    return Workflow("p", workflow_id, slug, None, None, None, 1, NOW, NOW, None)._replace(**changes)


def make_run(run_id: str, workflow_id: str = "w", **changes: Any) -> WorkflowRun:
    status = changes.get("status", WorkflowRunStatus.RUNNING)
    if status in ("failed", "completed"):
        changes.setdefault("finished_at", NOW + SECOND)
    run = WorkflowRun(
        "p", run_id, workflow_id, 1, 1, WorkflowRunStatus.RUNNING, "pp", None, None, None, None, None, None, 0, 0,
        None, "dev", NOW, None, None, None, None,
    )  # fmt: skip
    return run._replace(**changes)


def make_step(run_id: str, number: int, ref: str, **changes: Any) -> Step:
    if changes.get("status") == "completed":
        changes.setdefault("finished_at", NOW + SECOND)
    step = Step(
        "p", run_id, number, f"{run_id}:{ref}", ref, StepType.JOB, 1, StepStatus.RUNNING, 1, None, None, None, None,
        None, None, None, NOW, NOW, None, None,
    )  # fmt: skip
    return step._replace(**changes)
