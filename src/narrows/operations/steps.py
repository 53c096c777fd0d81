"""What a person decides of one step of a workflow run: an approval, to skip it, to try it again."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core import step_waits
from narrows.core import triggers as trigger_rules
from narrows.core.json_texts import dumps
from narrows.core.states import FactKind, StepStatus
from narrows.core.step_states import statuses
from narrows.core.step_waits import Vote
from narrows.core.workflow_records import Step, WorkflowRun
from narrows.core.workflow_steps import Approval
from narrows.core.workflows import may_happen
from narrows.errors import Conflict, NotFound
from narrows.operations.base import ProjectOperation
from narrows.operations.workflow_runs import check_lives, find_workflow_run, note, workflow_run_touches
from narrows.storage.following import group_triggers
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOperation(ProjectOperation):
    """`step` is the place of `step_ref` in the definition of the run, as whoever asks has looked it up."""

    workflow_run_id: str
    step_ref: str
    step: int

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            *workflow_run_touches(self.project_id, self.workflow_run_id),
            ("steps_by_number", self.project_id, self.workflow_run_id, str(self.step)),
        ]

    def find(self, tx: Transaction, verb: str) -> tuple[WorkflowRun, StepStatus]:
        """The live workflow run, and how the step stands in it."""
        self.authorize(tx)
        run = find_workflow_run(tx, self.project_id, self.workflow_run_id)
        check_lives(run, f"{verb} in it")
        return run, statuses(run.steps)[self.step]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipStep(StepOperation):
    """End a step that lives as skipped: what depends on it goes on without it. Raises NotFound, or Conflict if
    the step or its run has ended."""

    def apply(self, tx: Transaction) -> WorkflowRun:
        run, status = self.find(tx, "skip")
        if not may_happen(status, FactKind.STEP_SKIPPED):
            raise Conflict(f"The step {self.step_ref!r} is already {status}; there is nothing to skip.")
        note(tx, run, FactKind.STEP_SKIPPED, self.actor, self.entropy, step_ref=self.step_ref)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStep(StepOperation):
    """Give a step that has ended badly its turn again, and those that were skipped for it, while its workflow run
    lives. Raises NotFound, or Conflict."""

    def apply(self, tx: Transaction) -> WorkflowRun:
        run, status = self.find(tx, "retry")
        if not may_happen(status, FactKind.STEP_REOPENED):
            raise Conflict(
                f"The step {self.step_ref!r} is {status}. Only one that has failed, timed out or was canceled can "
                "be tried again."
            )
        note(tx, run, FactKind.STEP_REOPENED, self.actor, self.entropy, step_ref=self.step_ref)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideStep(StepOperation):
    """One person's decision about an approval, which `approval` defines: one rejection rejects it, enough
    approvals complete it. The same again changes nothing.

    `approver` is who decides, else the caller. Raises NotFound, Forbidden (not asked), or Conflict.
    """

    approval: Approval | None
    approves: bool
    approver: str | None = None
    comment: str | None = None

    def apply(self, tx: Transaction) -> WorkflowRun:
        run, status = self.find(tx, "decide")
        row = tx.step(self.project_id, run.id, self.step)
        if self.approval is None:
            raise Conflict(f"The step {self.step_ref!r} is no approval, so nobody can decide it.")
        if row is None or status != StepStatus.WAITING:
            raise Conflict(f"The step {self.step_ref!r} is {status}; it does not wait for a decision.")
        votes = step_waits.votes_from_text(row.votes)
        new = Vote(self.approver or self.actor.label, self.approves, self.comment, tx.now)
        decided = step_waits.vote(self.approval, votes, new)
        if decided != votes:
            self._vote(tx, run, row, decided)
        return run

    def _vote(self, tx: Transaction, run: WorkflowRun, row: Step, votes: tuple[Vote, ...]) -> None:
        assert self.approval is not None
        tx.save(row._replace(version=row.version + 1, votes=step_waits.votes_to_text(votes)))
        fact_id = tx.record_fact(
            FactKind.STEP_VOTED,
            run.project_id,
            row.id,
            self.actor.label,
            self.entropy,
            root_id=run.id,
            previous_id=run.last_fact_id,
            version=run.version + 1,
            detail=_vote_detail(row, votes[-1]),
        )
        tx.save(run._replace(version=run.version + 1, last_fact_id=fact_id))
        standing = step_waits.decide(self.approval, votes)
        if standing is None:
            return
        if standing.kind == FactKind.STEP_FAILED:
            # Noted before its wait is closed, which would say that it was canceled.
            said = {"step_ref": row.step_ref, "error": standing.error, "final": standing.final}
            note(tx, run, standing.kind, self.actor, self.entropy, **said)
        self._settle(tx, row, standing.kind, votes, standing.error)

    def _settle(
        self, tx: Transaction, row: Step, kind: FactKind, votes: tuple[Vote, ...], error: str | None
    ) -> None:
        """The wait of the approval: nobody but a decision can end it, so it ends here."""
        group = tx.wait_group(row.project_id, row.wait_group_id or "")
        if group is None:
            raise NotFound(f"The wait of the step {row.step_ref!r} is gone.")
        for trigger in group_triggers(tx, group):
            if not trigger_rules.is_waiting(trigger):
                continue
            if kind == FactKind.STEP_COMPLETED:
                payload = step_waits.approval_output(votes)
                changed = trigger_rules.receive(trigger, payload, None, self.actor.label, tx.now)
                tx.advance(changed, FactKind.TRIGGER_RECEIVED, self.actor.label, self.entropy)
            else:
                changed = trigger_rules.cancel(trigger, error or "rejected", tx.now)
                tx.advance(changed, FactKind.TRIGGER_CANCELED, self.actor.label, self.entropy)


def _vote_detail(row: Step, vote: Vote) -> str:
    said = {"step_ref": row.step_ref, "approver": vote.approver, "approved": vote.approves}
    return dumps(said if vote.comment is None else {**said, "comment": vote.comment})
