"""Messages between roots: what one commit asks of others, consumed exactly once by those that follow. A
message that takes many commits keeps in its row how far it has come. Not here: who drives them
(`engine/consume.py`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from narrows.core import runs as rules
from narrows.core.records import Root
from narrows.core.run_records import Message
from narrows.core.states import WORKFLOW_RUN_ENDED, FactKind, MessageKind, WorkflowRunStatus
from narrows.core.workflow_definitions import EMIT_HOLD_SECS, Definition
from narrows.core.workflow_records import Workflow
from narrows.errors import Conflict, InvalidRequest, LimitReached, NotFound, Refusal, SchemaMismatch
from narrows.operations.base import ENGINE, Answers
from narrows.operations.delivery import Event, send_by_key
from narrows.operations.events import event_touches
from narrows.operations.jobs import live_runs
from narrows.operations.waits import cancel_run, run_touches
from narrows.operations.workflow_runs import (
    Superseded,
    begin_run,
    check_placeholders,
    check_room,
    new_run,
    workflow_run_touches,
)
from narrows.operations.workflows import workflow_touches
from narrows.storage.lookups import Touch
from narrows.storage.noted import Noted
from narrows.storage.transaction import Transaction

#: Runs in one commit.
CHUNK: Final = 500

TOO_MANY_DESCEND: Final = (
    "{most} workflow runs descend from {top} already, the most allowed; trigger the others by themselves, or look "
    "whether a workflow starts itself"
)
#: It has ended, and retention has taken it: whatever is below it still is about to be canceled.
TOP_IS_GONE: Final = "the workflow run {top}, from which it would descend, has ended and is gone"

#: How the end of a sub-workflow is told to the step that started it.
_END_OF_CHILD: Final = {
    WorkflowRunStatus.COMPLETED: FactKind.STEP_COMPLETED,
    WorkflowRunStatus.FAILED: FactKind.STEP_FAILED,
    WorkflowRunStatus.TIMED_OUT: FactKind.STEP_TIMED_OUT,
    WorkflowRunStatus.CANCELED: FactKind.STEP_CANCELED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOperation:
    """`message` is as it was read; where it is gone or has gone on meanwhile, this is a repeat and does nothing."""

    background: ClassVar[bool] = False

    message: Message
    entropy: int

    @property
    def size_bytes(self) -> int:
        return len(self.message.payload or "")

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.message.body or "{}")
        return found

    def touches(self) -> list[Touch]:
        return [("messages_by_id", self.message.project_id, self.message.id)]

    def is_there(self, tx: Transaction) -> bool:
        message = tx.message(self.message.project_id, self.message.id)
        return message is not None and message.cursor == self.message.cursor

    def consume(self, tx: Transaction) -> None:
        """It goes, and what it said is held by nobody for its sake."""
        tx.delete(self.message)
        tx.release_payload(self.message.project_id, self.message.payload_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRunsOfJob(MessageOperation):
    """One step of a `cancel_runs_of_job` message: cancel those of `run_ids` that live still, and go on
    after `cursor`; None says that there is nothing beyond. The message goes with the last live run. Answers
    how many runs were canceled."""

    background: ClassVar[bool] = True

    run_ids: tuple[str, ...]
    cursor: str | None

    def touches(self) -> list[Touch]:
        project_id = self.message.project_id
        return [
            *super(CancelRunsOfJob, self).touches(),
            ("run_counters_by_job", project_id, self.message.subject_id),
            *(touch for run_id in self.run_ids for touch in run_touches(project_id, run_id)),
        ]

    def apply(self, tx: Transaction) -> int:
        if not self.is_there(tx):
            return 0
        message = self.message
        canceled = sum(self._cancel(tx, run_id) for run_id in self.run_ids)
        if self.cursor is None or not live_runs(tx, message.project_id, message.subject_id):
            tx.delete(message)
        else:
            tx.save(message._replace(cursor=self.cursor))
        return canceled

    def _cancel(self, tx: Transaction, run_id: str) -> bool:
        run = tx.run(self.message.project_id, run_id)
        if run is None or run.job_id != self.message.subject_id or rules.has_ended(run):
            return False
        cancel_run(tx, run, rules.JOB_DELETED, ENGINE.label, self.entropy)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSubWorkflow(MessageOperation):
    """Start the run that a step asks for, under the message's own id, and count it where all that descend from one
    are counted: at the root of the topmost. `workflow` and its newest `definition` are as they were read, None where
    there is none: then the step is told that it has failed, as it is where one more is too many. Raises Superseded."""

    workflow: Workflow | None
    definition: Definition | None

    def touches(self) -> list[Touch]:
        slug = self.body["workflow_slug"]
        return [
            *super(StartSubWorkflow, self).touches(),
            ("counters_by_project", self.message.project_id),
            ("roots_to_count", self.message.project_id, self.body["top_run_id"]),
            *workflow_touches(self.message.project_id, slug),
            # The child's row, which is not there yet: its locks are as of any other run.
            *workflow_run_touches(self.message.project_id, self.message.id),
        ]

    def apply(self, tx: Transaction) -> bool:
        if not self.is_there(tx):
            return False
        message, body = self.message, self.body
        workflow = tx.workflow_by_slug(message.project_id, body["workflow_slug"])
        if workflow is None or self.workflow is None or self.definition is None:
            if workflow is not None:
                raise Superseded("the workflow has just been made")
            self._refuse(tx, f"there is no workflow {body['workflow_slug']!r}")
            return False
        if workflow.id != self.workflow.id or workflow.version != self.workflow.version:
            raise Superseded("the workflow has just changed")
        try:
            check_placeholders(self.definition, message.payload)
            check_room(tx, message.project_id)
        except InvalidRequest as fault:
            self._refuse(tx, "; ".join(fault.details))
            return False
        except LimitReached as full:
            self._refuse(tx, full.message.removesuffix("."))
            return False
        top = tx.root(message.project_id, body["top_run_id"])
        if top is None:
            self._refuse(tx, TOP_IS_GONE.format(top=body["top_run_id"]))
            return False
        if not self._is_counted(tx, top):
            most = f"{tx.limits.descendants:,}"
            self._refuse(tx, TOO_MANY_DESCEND.format(top=body["top_run_id"], most=most), final=True)
            return False
        run = new_run(tx, workflow, self.definition, message.id, f"workflow_run:{message.subject_id}")
        run = run._replace(
            payload=message.payload,
            payload_id=message.payload_id,
            parent_run_id=message.subject_id,
            parent_step=body["step"],
            depth=body["depth"],
            hops=message.hops,
            top_run_id=body["top_run_id"],
        )
        tx.delete(message)  # the run holds its payload from now on
        begin_run(tx, run, ENGINE.label, self.entropy)
        return True

    def _is_counted(self, tx: Transaction, top: Root) -> bool:
        """One more descends from the topmost run; False where it has as many as it may have. That row is locked with
        its run, so that the count is exact whoever else starts something below it."""
        if top.descendants >= tx.limits.descendants:
            return False
        tx.save(top._replace(descendants=top.descendants + 1))
        return True

    def _refuse(self, tx: Transaction, error: str, *, final: bool = False) -> None:
        """The step is told by a message, like of any other end."""
        body = {
            "step": self.body["step"],
            "child_run_id": self.message.id,
            "status": WorkflowRunStatus.FAILED,
            "error": error,
            "final": final,
        }
        self.consume(tx)
        tx.save(
            Message(
                self.message.project_id,
                tx.new_id(self.entropy),
                MessageKind.WORKFLOW_RUN_ENDED,
                self.message.subject_id,
                None,
                self.message.hops,
                tx.now,
                json.dumps(body, ensure_ascii=False, separators=(",", ":")),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TellParent(MessageOperation):
    """The step that started a sub-workflow is told of its end."""

    def touches(self) -> list[Touch]:
        project_id, parent_id = self.message.project_id, self.message.subject_id
        return [
            *super(TellParent, self).touches(),
            *workflow_run_touches(project_id, parent_id),
            ("steps_by_number", project_id, parent_id, str(self.body["step"])),
        ]

    def apply(self, tx: Transaction) -> bool:
        if not self.is_there(tx):
            return False
        message, body = self.message, self.body
        row = tx.step(message.project_id, message.subject_id, body["step"])
        if row is not None:
            noted = Noted(
                _END_OF_CHILD[WorkflowRunStatus(body["status"])],
                row.step_ref,
                body["child_run_id"],
                body["error"],
                message.payload,
                message.payload_id,
                final=body.get("final", False),
                hops=message.hops,
                entropy=self.entropy,
            )
            tx.notes.add((message.project_id, message.subject_id), noted)
        self.consume(tx)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSubWorkflow(MessageOperation):
    """End a sub-workflow whose step has ended. Where its start is still to come, that is taken back."""

    def touches(self) -> list[Touch]:
        project_id, child_id = self.message.project_id, self.message.subject_id
        return [
            *super(CancelSubWorkflow, self).touches(),
            ("messages_by_id", project_id, child_id),
            *workflow_run_touches(project_id, child_id),
        ]

    def apply(self, tx: Transaction) -> bool:
        if not self.is_there(tx):
            return False
        project_id, child_id = self.message.project_id, self.message.subject_id
        start, child = tx.message(project_id, child_id), tx.workflow_run(project_id, child_id)
        if start is not None:
            tx.delete(start)
            tx.release_payload(project_id, start.payload_id)
        elif child is not None and child.status not in WORKFLOW_RUN_ENDED:
            error = self.body.get("reason")
            noted = Noted(FactKind.WORKFLOW_RUN_CANCELED, error=error, entropy=self.entropy)
            tx.notes.add((project_id, child_id), noted)
        self.consume(tx)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitEvent(MessageOperation):
    """Send the event that a step emits, held for a day where nobody waits yet. One that the waiter cannot take is
    given up, since its step has completed: the refusal is answered. Raises LimitReached: then it is tried again."""

    answers: Answers = field(default_factory=dict)

    def answered(self, answers: Answers) -> EmitEvent:
        return EmitEvent(message=self.message, entropy=self.entropy, answers={**self.answers, **answers})

    def touches(self) -> list[Touch]:
        message = self.message
        return [
            *super(EmitEvent, self).touches(),
            *event_touches(message.project_id, message.subject_id, EMIT_HOLD_SECS, None),
        ]

    def apply(self, tx: Transaction) -> Refusal | None:
        if not self.is_there(tx):
            return None
        message = self.message
        event = Event(
            message.project_id,
            message.subject_id,
            message.payload,
            EMIT_HOLD_SECS,
            None,
            self.body.get("sent_by", ENGINE.label),
        )
        before = tx.changes
        try:
            with tx.notes.reached_by(message.hops):
                send_by_key(tx, event, self.entropy, self.answers)
        except (Conflict, NotFound, SchemaMismatch) as refusal:
            if tx.changes != before:
                raise
            self.consume(tx)
            return refusal
        self.consume(tx)
        return None


#: What needs nothing but the message.
BY_MESSAGE_ALONE: Final[dict[str, type[MessageOperation]]] = {
    MessageKind.EMIT_EVENT: EmitEvent,
    MessageKind.WORKFLOW_RUN_ENDED: TellParent,
    MessageKind.CANCEL_WORKFLOW_RUN: CancelSubWorkflow,
}
