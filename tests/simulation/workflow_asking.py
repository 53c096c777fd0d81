"""What somebody may ask of the workflows of a project, drawn by chance: operations as values. Shared by the clients of the
simulation and by the histories of `tests/workflows`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from narrows.core.workflow_steps import Approval
from narrows.operations.events import SendEvent
from narrows.operations.steps import DecideStep, RetryStep, SkipStep
from narrows.operations.workflow_runs import (
    CancelWorkflowRun,
    RetryWorkflowRun,
    SwitchWorkflowRun,
    TriggerWorkflow,
)
from tests.core.slow_workflows import OVER, WRONG
from tests.simulation.values import Wait
from tests.simulation.workflow_model import WorkflowModel
from tests.simulation.workflow_values import ModelWorkflow, ModelWorkflowRun, StepGroup

#: Prefixes of keys that only steps wait under, and the members behind them.
PREFIXES = ("k", "m", "n")
IDS = (1, 2, 3, 4, 5, 6)
PEOPLE = ("ann", "bob", "cid", "dora")
#: It has a row of its own, which many may hold.
LARGE = f'{{"n":4,"id":5,"voter":"dora","text":"{"x" * 1_100}"}}'
#: What events carry and jobs give back: some of it says what conditions, keys, voters and vetoes are about.
EVENT_PAYLOADS: tuple[str | None, ...] = (
    '{"n":0,"id":1,"voter":"ann"}', '{"n":3,"id":2,"voter":"bob"}', '{"n":3,"id":3,"voter":"cid"}',
    '{"id":4,"voter":"ann"}', '{"n":7,"veto":true}', '{"n":1,"veto":false,"voter":"bob"}', None, "null", "2",
    '{"n":{"x":1},"id":[]}', LARGE,
)  # fmt: skip
PERSONS_MIX = {"cancel": 2, "switch": 6, "retry_run": 4, "skip": 6, "retry_step": 6, "decide": 14}
Common = Callable[[], Mapping[str, Any]]


class Asking:
    """`common` gives what every operation of the project has, new each time."""

    def __init__(self, rng: random.Random, model: WorkflowModel, project_id: str, common: Common) -> None:
        self._rng = rng
        self._model = model
        self._project_id = project_id
        self._common = common

    # ---- what there is ----

    def workflows(self) -> list[ModelWorkflow]:
        found = self._model.workflows.values()
        return [each for each in found if each.project_id == self._project_id and not each.is_deleted]

    def runs(self) -> list[ModelWorkflowRun]:
        found = self._model.workflow_runs.values()
        return [run for run in found if run.project_id == self._project_id]

    def waits(self) -> list[Wait]:
        """What steps wait for that events can end."""
        return [
            wait
            for wait in self._model.waits.values()
            if wait.project_id == self._project_id and wait.status == "waiting"
            if isinstance(wait.group, StepGroup) and wait.takes_events
        ]

    def _run(self) -> ModelWorkflowRun | None:
        """Mostly one that lives."""
        runs = self.runs()
        living = [run for run in runs if not run.has_ended]
        if living and self._rng.random() < 0.85:
            return self._rng.choice(living)
        return self._rng.choice(runs) if runs else None

    # ---- starting ----

    def start(self) -> TriggerWorkflow | None:
        rng, workflows = self._rng, self.workflows()
        if not workflows:
            return None
        workflow = rng.choice(workflows)
        return TriggerWorkflow(
            **self._common(),
            workflow=workflow.plan.slug if rng.random() < 0.95 else "nobody",
            workflow_id=workflow.id,
            version=workflow.version if rng.random() < 0.95 else workflow.version - 1,
            definition=workflow.plan.definition,
            payload=self._payload(),
        )

    def _payload(self) -> str | None:
        rng, number = self._rng, self._rng.choice(IDS)
        if rng.random() < 0.05:
            return rng.choice((None, "7", "{}"))
        text = f',"text":"{"y" * 1_100}"' if rng.random() < 0.1 else ""
        return f'{{"id":{number},"n":{rng.choice((0, 1, 2, 3))}{text}}}'

    # ---- events ----

    def send(self) -> SendEvent | None:
        """To what a step waits for, or early to what one may come to wait for."""
        rng, waits = self._rng, self.waits()
        if waits and rng.random() < 0.85:
            return self.sending(rng.choice(waits).event_key, rng.choice((None, None, None, 600)))
        return self.sending(f"{rng.choice(PREFIXES)}:{rng.choice(IDS)}", rng.choice((None, 600, 600)))

    def sending(self, event_key: str, hold_secs: int | None = None) -> SendEvent:
        payload = self._rng.choice(EVENT_PAYLOADS)
        return SendEvent(**self._common(), payload=payload, event_key=event_key, hold_secs=hold_secs)

    # ---- people ----

    def decision(self) -> Any:
        """What a person wants of a workflow run or of one of its steps."""
        (what,) = self._rng.choices(list(PERSONS_MIX), list(PERSONS_MIX.values()))
        run = self._run()
        return None if run is None else getattr(self, f"_{what}")(run)

    def _cancel(self, run: ModelWorkflowRun) -> Any:
        return CancelWorkflowRun(**self._common(), workflow_run_id=run.id)

    def _switch(self, run: ModelWorkflowRun) -> Any:
        paused = run.run != "paused" if self._rng.random() < 0.8 else self._rng.random() < 0.5
        return SwitchWorkflowRun(**self._common(), workflow_run_id=run.id, paused=paused)

    def _retry_run(self, run: ModelWorkflowRun) -> Any:
        bad = [each for each in self.runs() if each.has_ended and each.run != "completed"]
        run = self._rng.choice(bad) if bad else run
        return RetryWorkflowRun(
            **self._common(),
            workflow_run_id=run.id,
            steps=len(run.now),
            timeout_secs=run.plan.timeout_secs,
        )

    def _of_step(self, run: ModelWorkflowRun, wanted: Sequence[str]) -> dict[str, Any]:
        ref = self._rng.choice(wanted if wanted and self._rng.random() < 0.9 else list(run.now))
        return {
            **self._common(), "workflow_run_id": run.id, "step_ref": ref, "step": list(run.now).index(ref),
        }  # fmt: skip

    def _skip(self, run: ModelWorkflowRun) -> Any:
        return SkipStep(**self._of_step(run, [ref for ref, state in run.now.items() if state not in OVER]))

    def _retry_step(self, run: ModelWorkflowRun) -> Any:
        return RetryStep(**self._of_step(run, [ref for ref, state in run.now.items() if state in WRONG]))

    def _decide(self, run: ModelWorkflowRun) -> Any:
        rng = self._rng
        open_ones = [
            (each, ref)
            for each in self.runs()
            for ref, doing in each.doings.items()
            if doing.plan.type == "approval" and each.now[ref] == "waiting"
        ]
        run, wanted = rng.choice(open_ones) if open_ones else (run, rng.choice(list(run.now)))
        of_step = self._of_step(run, [wanted])
        work = run.plan.definition.steps[of_step["step"]].work
        doing = run.doings[of_step["step_ref"]]
        people = doing.plan.approvers if doing.plan.approvers and rng.random() < 0.9 else PEOPLE
        return DecideStep(
            **of_step,
            approval=work if isinstance(work, Approval) else None,
            approves=rng.random() < 0.85,
            approver=rng.choice(people),
            comment=rng.choice((None, "fine")),
        )
