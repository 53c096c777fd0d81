"""What has to be true of the workflow runs once a run of the simulation has come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.run_values import ModelRun
from tests.simulation.server import database
from tests.simulation.values import DAY_US, Violation
from tests.simulation.workflow_values import Child, ModelStep, ModelWorkflowRun, StepGroup

if TYPE_CHECKING:
    from tests.simulation.world import World

ENDS = {f"workflow_run.{status}": status for status in ("completed", "failed", "timed_out", "canceled")}


def check_workflows(world: World) -> None:
    for message in world.model.messages.values():
        if message.kind != "emit_event":  # which waits as long as the project can hold no more
            raise Violation(f"nobody consumes {message}")
    for run in world.model.workflow_runs.values():
        for ref, doing in run.doings.items():
            _check_step(world, run, doing, run.now[ref])
        if not run.has_ended and run.run != "paused":
            if not {"running", "waiting", "delayed"} & set(run.now.values()):
                raise Violation(f"the workflow run {run.id} stands still: {run.now}")
    _check_facts(world)


def _check_step(world: World, run: ModelWorkflowRun, doing: ModelStep, state: str) -> None:
    """What goes on of it can end, and what has ended was done."""
    work = doing.work
    step_id = run.step_id(doing.plan.ref)
    if state == "running" and isinstance(work, ModelRun) and work.has_ended:
        raise Violation(f"{step_id} waits for {work}")
    if state == "running" and isinstance(work, Child):
        child = world.model.workflow_runs.get(work.id)
        if child is None or child.has_ended:
            raise Violation(f"{step_id} waits for a sub-workflow {work.id} that does not go on")
    if state in ("waiting", "delayed"):
        if not isinstance(work, StepGroup) or all(wait.status != "waiting" for wait in work.waits):
            raise Violation(f"{step_id} waits for {work}")
    if state == "completed" and isinstance(work, ModelRun):
        by_default = work.status == "timed_out" and doing.plan.default is not None
        if work.dispatch < 1 or not (work.status == "completed" or by_default):
            raise Violation(f"{step_id} is completed by {work}")


def _check_facts(world: World) -> None:
    """Of each workflow run with its steps one unbroken chain, which its end ends."""
    chains: dict[str, list[Any]] = {}
    for row in database().raw.execute(
        """select subject_id, id, previous_id, kind from facts
           where kind like 'workflow_run.%' or kind like 'step.%' order by id"""
    ):
        chains.setdefault(row[0].partition(":")[0], []).append(row)
    oldest_kept = world.clock.now() - 29 * DAY_US
    for run in world.model.workflow_runs.values():
        if run.created_at < oldest_kept:
            continue
        chain = chains.get(run.id, [])
        if [row[2] for row in chain] != [None, *(row[1] for row in chain[:-1])]:
            raise Violation(f"{run.id}: the chain of its facts is broken: {chain}")
        ends = [ENDS[row[3]] for row in chain if row[3] in ENDS]
        if ends != ([run.run] if run.has_ended else []) or (ends and chain[-1][3] not in ENDS):
            raise Violation(f"{run.id} is {run.run}, and was ended by {[row[3] for row in chain]}")
