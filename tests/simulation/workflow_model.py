"""What Narrows promises of workflows, as the plainest program: see `model.py`, of which this is the third part. Here are
the operations; how workflow runs go on is in `workflow_turn.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from narrows.core.ids import make_id
from narrows.storage.committed import Handed
from narrows.storage.writer import Outcome
from tests.core.slow_workflows import WRONG
from tests.simulation.ledger import AT_THE_END, InATurn
from tests.simulation.run_values import ModelRun
from tests.simulation.values import Held, Violation, Wait
from tests.simulation.workflow_plans import Plan
from tests.simulation.workflow_turn import Turning
from tests.simulation.workflow_values import (
    Happening,
    ModelMessage,
    ModelWorkflow,
    ModelWorkflowRun,
    StepGroup,
    Vote,
)
from tests.simulation.workflow_work import FINAL

EMIT_HOLD_SECS = 86_400


class WorkflowModel(Turning):
    """The state that all promises speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.workflows: dict[str, ModelWorkflow] = {}
        #: By the text of the definition.
        self.plans: dict[str, Plan] = {}

    # ---- a batch ----

    def begin_batch(
        self,
        now: int,
        wall: int,
        came_due: Iterable[str],
        overdue: Iterable[str],
        in_a_turn: Iterable[InATurn],
    ) -> None:
        """What its operations look at is loaded, and what is over its time settled with that, before any of them."""
        self.now, self.wall, self.place = now, wall, -1
        self.in_a_turn = list(in_a_turn)
        for each in (*came_due, *overdue):
            self.look_at_the_clock(each)

    def end_batch(self, handed: Sequence[Handed] = ()) -> None:
        self.place = AT_THE_END
        self.turn()
        self.hand_out(handed)

    def step(self, operation: Any, outcome: Outcome, now: int, wall: int) -> None:
        self.place += 1
        super().step(operation, outcome, now, wall)

    def _Answered(self, operation: Any, value: Any) -> Any:  # noqa: N802 - named after the operation
        return self.expect(operation.operation, value)

    # ---- looking ----

    def _workflow(self, project_id: str, name: str) -> ModelWorkflow | None:
        for workflow in self.workflows.values():
            if workflow.project_id == project_id and name in (workflow.plan.slug, workflow.id):
                if not workflow.is_deleted:
                    return workflow
        return None

    def _workflow_run(self, operation: Any) -> ModelWorkflowRun | None:
        run = self.workflow_runs.get(operation.workflow_run_id)
        if run is None or run.project_id != operation.project_id:
            return None
        self.see_advanced(run)
        return run

    def is_needed(self, wait: Wait) -> bool:
        if isinstance(wait.group, StepGroup):
            return not wait.group.run.has_ended
        if (
            wait.group is not None
            and wait.group.run.step is not None
            and not wait.group.run.step[0].has_ended
        ):
            return True
        return super().is_needed(wait)

    def _keep(self, *arguments: Any) -> Held:
        held = super()._keep(*arguments)
        held.hops, held.kept_at = self.hops, self.now
        return held

    def _DeleteRuns(self, operation: Any, value: Any) -> Any:  # noqa: N802 - named after the operation
        ids = tuple(key for key in operation.ids if not self._goes_on_above(self.runs.get(key[1])))
        return super()._DeleteRuns(Chosen(operation, ids), value)

    def _goes_on_above(self, run: ModelRun | None) -> bool:
        return run is not None and run.step is not None and not run.step[0].has_ended

    # ---- workflows ----

    def _CreateWorkflow(self, operation: Any, value: Any) -> Any:  # noqa: N802
        plan = self.plans[operation.text]
        if self._workflow(operation.project_id, plan.slug) is not None:
            return "conflict"
        self.workflows[value.id] = ModelWorkflow(operation.project_id, value.id, plan)
        return None

    def _UpdateWorkflow(self, operation: Any, value: Any) -> Any:  # noqa: N802
        workflow = self._workflow(operation.project_id, operation.workflow)
        if workflow is None:
            return "not_found"
        if workflow.version != operation.base_version:
            return "conflict"
        workflow.version += 1
        workflow.plan = self.plans[operation.text]
        return None

    def _DeleteWorkflow(self, operation: Any, value: Any) -> Any:  # noqa: N802
        workflow = self._workflow(operation.project_id, operation.workflow)
        if workflow is None:
            return "not_found"
        workflow.is_deleted = True
        return None

    # ---- workflow runs ----

    def _TriggerWorkflow(self, operation: Any, value: Any) -> Any:  # noqa: N802
        workflow = self._workflow(operation.project_id, operation.workflow)
        if workflow is None:
            return "not_found"
        read = (operation.workflow_id, operation.version)
        if operation.definition is None or (workflow.id, workflow.version) != read:
            return "conflict"
        if workflow.plan.lacks(operation.payload):
            return "invalid_request"
        self._begin(ModelWorkflowRun(workflow, value.id, operation.payload, self.now))
        return None

    def _begin(self, run: ModelWorkflowRun) -> None:
        if run.id in self.workflow_runs:
            raise Violation(f"the id {run.id} was given twice")
        self.workflow_runs[run.id] = run
        self.note(run, Happening("created", hops=run.hops))

    def _CancelWorkflowRun(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run = self._workflow_run(operation)
        if run is None or run.has_ended:
            return "not_found" if run is None else "conflict"
        self.note(run, Happening("canceled"))
        return None

    def _SwitchWorkflowRun(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run = self._workflow_run(operation)
        if run is None or run.has_ended:
            return "not_found" if run is None else "conflict"
        if (run.run == "paused") != operation.paused:
            self.note(run, Happening("paused" if operation.paused else "resumed"))
        return None

    def _RetryWorkflowRun(self, operation: Any, value: Any) -> Any:  # noqa: N802
        ended = self._workflow_run(operation)
        if ended is None:
            return "not_found"
        if not ended.has_ended or ended.run == "completed":
            return "conflict"
        workflow = ModelWorkflow(ended.project_id, ended.workflow_id, ended.plan, ended.version)
        run = ModelWorkflowRun(workflow, value.id, ended.payload, self.now, retry_of=ended.id)
        for ref, doing in ended.doings.items():
            if ended.now[ref] == "completed":
                run.now[ref] = "completed"
                kept = run.doings[ref]
                kept.output, kept.attempt, kept.votes = doing.output, doing.attempt, doing.votes
        self._begin(run)
        return None

    def _ExpireWorkflowRuns(self, operation: Any, value: Any) -> Any:  # noqa: N802
        return None

    def _DeleteWorkflowRuns(self, operation: Any, value: Any) -> Any:  # noqa: N802
        for _, run_id in operation.ids:
            run = self.workflow_runs.get(run_id)
            if (
                run is not None
                and run.finished_at is not None
                and run.finished_at < operation.finished_before
            ):
                del self.workflow_runs[run_id]
        return None

    # ---- steps ----

    def _step(self, operation: Any) -> ModelWorkflowRun | str:
        run = self._workflow_run(operation)
        if run is None or run.has_ended:
            return "not_found" if run is None else "conflict"
        return run

    def _SkipStep(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run, ref = self._step(operation), operation.step_ref
        if isinstance(run, str) or run.now[ref] not in ("pending", "queued", "running", "waiting", "delayed"):
            return run if isinstance(run, str) else "conflict"
        self.note(run, Happening("skipped", ref))
        return None

    def _RetryStep(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run, ref = self._step(operation), operation.step_ref
        if isinstance(run, str) or run.now[ref] not in WRONG:
            return run if isinstance(run, str) else "conflict"
        self.note(run, Happening("retry", ref))
        return None

    def _DecideStep(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run, ref = self._step(operation), operation.step_ref
        if isinstance(run, str):
            return run
        doing, label = run.doings[ref], operation.actor.label
        if doing.plan.type != "approval" or run.now[ref] != "waiting":
            return "conflict"
        approver = operation.approver or label
        if doing.plan.approvers and approver not in doing.plan.approvers:
            return "forbidden"
        earlier = [vote for vote in doing.votes if vote.approver == approver]
        if earlier:
            return None if earlier[0].approves == operation.approves else "conflict"
        doing.votes = [*doing.votes, Vote(approver, operation.approves, operation.comment)]
        assert isinstance(doing.work, StepGroup)
        (wait,) = doing.work.waits
        if not operation.approves:
            self.note(run, Happening("failed", ref, FINAL))
            self.cancel_wait(wait)
        elif len(doing.votes) >= doing.plan.min_approvals:
            self.receive(wait, _approved(doing.votes), label)
        return None

    # ---- messages ----

    def _message(self, operation: Any) -> ModelMessage | None:
        """What is consumed now, None if it was before."""
        return self.messages.pop(operation.message.id, None)

    def _StartSubWorkflow(self, operation: Any, value: Any) -> Any:  # noqa: N802
        message = self.messages.get(operation.message.id)
        if message is None:
            return False
        body = operation.body
        workflow = self._workflow(message.project_id, body["workflow_slug"])
        read = operation.workflow
        if workflow is not None and (
            read is None or (read.id, read.version) != (workflow.id, workflow.version)
        ):
            return "conflict"
        del self.messages[message.id]
        parent = self.workflow_runs.get(message.subject_id)
        # The topmost may have ended, and be gone: nothing more begins below it.
        is_below = body["top_run_id"] in self.workflow_runs
        if workflow is None or workflow.plan.lacks(message.payload) or not is_below:
            said = {"child_run_id": message.id, "status": "failed"}
            row = self.seen.take_message(
                message.project_id, "workflow_run_ended", message.subject_id, said, self.messages
            )
            self.messages[row.id] = ModelMessage(
                message.project_id, row.id, "workflow_run_ended", message.subject_id, message.hops, said
            )
            return False
        ref = list(parent.now)[body["step"]] if parent is not None else f"number {body['step']}"
        fields = {"parent": (message.subject_id, ref), "depth": body["depth"], "hops": message.hops}
        self._begin(ModelWorkflowRun(workflow, message.id, message.payload, self.now, **fields))
        return True

    def _TellParent(self, operation: Any, value: Any) -> Any:  # noqa: N802
        message = self._message(operation)
        if message is None:
            return False
        body, parent = operation.body, self.workflow_runs.get(message.subject_id)
        if parent is not None:
            ref = list(parent.now)[body["step"]]
            child = parent.doings[ref].child
            if child is not None and child.id == body["child_run_id"]:
                told = Happening(body["status"], ref, source=child, output=message.payload, hops=message.hops)
                self.note(parent, told)
        return True

    def _CancelSubWorkflow(self, operation: Any, value: Any) -> Any:  # noqa: N802
        message = self._message(operation)
        if message is None:
            return False
        child = self.workflow_runs.get(message.subject_id)
        if self.messages.pop(message.subject_id, None) is None and child is not None:
            if not child.has_ended:
                self.note(child, Happening("canceled"))
        return True

    def _EmitEvent(self, operation: Any, value: Any) -> Any:  # noqa: N802
        message = self.messages.get(operation.message.id)
        if message is None:
            return None
        event = Emitted(message.subject_id, message.payload)
        before, self.hops = self.hops, message.hops
        came = self._by_key(message.project_id, event, operation.body["sent_by"], None)
        self.hops = before
        if came == "limit_reached":
            return came
        del self.messages[message.id]
        if isinstance(came, Held):
            self._learn_held_id(self.held.pop(came.id))
        return came if isinstance(came, str) else None

    def _learn_held_id(self, held: Held) -> None:
        """It is in no answer, and nowhere if a wait of this very commit has taken it."""
        row_id = self.seen.find_held(held, self.held)
        held.id = row_id or make_id(self.now, 0, len(self.held))
        self.held[held.id] = held


class Emitted:
    """As an event that somebody sends."""

    event_id = None
    hold_secs = EMIT_HOLD_SECS

    def __init__(self, event_key: str, payload: str | None) -> None:
        self.event_key = event_key
        self.payload = payload


class Chosen:
    """An operation with other ids."""

    def __init__(self, operation: Any, ids: tuple[Any, ...]) -> None:
        self.ids = ids
        self.finished_before = operation.finished_before


def _approved(votes: list[Vote]) -> str:
    comments = [{"approver": vote.approver, "comment": vote.comment} for vote in votes if vote.comment]
    said = {"approved_by": [vote.approver for vote in votes], "comments": comments}
    return json.dumps(said, separators=(",", ":"))
