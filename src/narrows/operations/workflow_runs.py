"""Workflow runs: starting one, canceling, pausing and resuming it, and a new run that keeps what an ended one has
done. They note what is wanted; what follows is the turn's affair (`turns.py`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from narrows.core.records import Root
from narrows.core.states import WORKFLOW_RUN_ENDED, FactKind, StepStatus, WorkflowRunStatus
from narrows.core.step_states import fresh, kept, statuses
from narrows.core.triggers import CANCELED_BY_USER
from narrows.core.workflow_definitions import Definition, unresolved_placeholders
from narrows.core.workflow_records import Workflow, WorkflowRun
from narrows.core.workflows import coming
from narrows.errors import Conflict, InvalidRequest, LimitReached, NotFound
from narrows.operations.base import Actor, ProjectOperation, check_project
from narrows.operations.waits import keep_text, touches_of_jobs
from narrows.operations.workflows import find_workflow, workflow_touches
from narrows.storage.lookups import Touch
from narrows.storage.noted import Noted
from narrows.storage.transaction import Transaction

#: So many faults of a payload are told at once.
MAX_FAULTS: Final = 50


class Superseded(Conflict):
    """The workflow has another version by now than the one that was read: read it again, and repeat."""


def workflow_run_touches(project_id: str, workflow_run_id: str) -> list[Touch]:
    return [
        ("workflow_runs_by_id", project_id, workflow_run_id),
        ("roots_by_id", project_id, workflow_run_id),
    ]


def find_workflow_run(tx: Transaction, project_id: str, workflow_run_id: str) -> WorkflowRun:
    """As it stands after all that came before it. Raises NotFound."""
    run = tx.workflow_run(project_id, workflow_run_id)
    if run is None:
        raise NotFound(f"There is no workflow run {workflow_run_id}. List them with GET /v1/workflow-runs.")
    tx.see_advanced(project_id, workflow_run_id)
    return run


def check_room(tx: Transaction, project_id: str) -> None:
    """Raise LimitReached if one more may not go on in the project; its counters must have been touched."""
    most = tx.limits.workflow_runs_per_project
    if tx.live_workflow_runs(project_id) >= most:
        raise LimitReached(
            f"The project has {most:,} workflow runs that go on, the most allowed. Let some end, or cancel them: "
            "GET /v1/workflow-runs?status=running lists them.",
            retry_after_secs=60,
        )


def note(
    tx: Transaction,
    run: WorkflowRun,
    kind: FactKind,
    actor: Actor,
    entropy: int,
    **said: Any,
) -> None:
    """Something that is wanted of a workflow run or of one of its steps."""
    noted = Noted(kind, actor=actor.label, entropy=entropy, **said)
    tx.notes.add((run.project_id, run.id), noted)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerWorkflow(ProjectOperation):
    """Start a run of `workflow` (slug or id) by the definition of `version` of what was found under that name, the
    workflow `workflow_id`. `payload` and `tags` are JSON texts.

    Raises NotFound, Superseded, InvalidRequest where a placeholder cannot resolve, or LimitReached.
    """

    workflow: str
    workflow_id: str
    version: int
    definition: Definition | None
    payload: str | None = None
    tags: str | None = None

    @property
    def size_bytes(self) -> int:
        return 0 if self.payload is None else len(self.payload)

    def touches(self) -> list[Touch]:
        """The jobs that it starts with, too: a database with locks has them with those of the workflow then."""
        touches = [
            *self.credential(),
            ("projects_by_id", self.project_id),
            ("counters_by_project", self.project_id),
            *workflow_touches(self.project_id, self.workflow),
        ]
        if self.definition is not None:
            first = coming(self.definition, fresh(len(self.definition.steps)), (), begins=True)
            touches += touches_of_jobs(self.project_id, self.definition, first)
        return touches

    def apply(self, tx: Transaction) -> WorkflowRun:
        self.authorize(tx)
        check_project(tx, self.project_id)
        workflow = find_workflow(tx, self.project_id, self.workflow)
        definition = self.definition
        read = (self.workflow_id, self.version)
        if definition is None or (workflow.id, workflow.version) != read:
            raise Superseded(f"The workflow {workflow.slug!r} has just changed. Trigger it again.")
        check_placeholders(definition, self.payload)
        check_room(tx, self.project_id)
        payload_id = keep_text(tx, self.project_id, self.payload, self.entropy)
        run = new_run(tx, workflow, definition, tx.new_id(self.entropy), self.actor.label)
        run = run._replace(payload=self.payload, payload_id=payload_id, tags=self.tags)
        return begin_run(tx, run, self.actor.label, self.entropy)


def check_placeholders(definition: Definition, payload: str | None) -> None:
    """Raise InvalidRequest for placeholders that are known not to resolve."""
    faults = unresolved_placeholders(definition, payload, "")
    if faults:
        raise InvalidRequest(
            "The payload lacks what the workflow's steps need. Add it, and trigger again.",
            details=faults[:MAX_FAULTS],
        )


def new_run(
    tx: Transaction, workflow: Workflow, definition: Definition, run_id: str, created_by: str
) -> WorkflowRun:
    """A run that nothing has happened to."""
    secs = definition.timeout_secs
    return WorkflowRun(
        project_id=workflow.project_id,
        id=run_id,
        workflow_id=workflow.id,
        workflow_version=workflow.version,
        version=1,
        status=WorkflowRunStatus.RUNNING,
        steps=fresh(len(definition.steps)),
        payload=None,
        payload_id=None,
        error=None,
        tags=None,
        parent_run_id=None,
        parent_step=None,
        depth=0,
        hops=0,
        retry_of=None,
        created_by=created_by,
        created_at=tx.now,
        due_at=tx.now + secs * 1_000_000 if secs else None,
        finished_at=None,
        last_fact_id=None,
        top_run_id=None,
    )


def begin_run(tx: Transaction, run: WorkflowRun, actor: str, entropy: int) -> WorkflowRun:
    """Save it with its root and its first fact; its first steps start in the turn."""
    kind = FactKind.WORKFLOW_RUN_CREATED
    fact_id = tx.record_fact(
        kind, run.project_id, run.id, actor, entropy, root_id=run.id, version=run.version
    )
    run = run._replace(last_fact_id=fact_id)
    tx.save(Root(run.project_id, run.id, "workflow_run", run.created_at, None, 0))
    tx.save(run)
    tx.notes.add((run.project_id, run.id), Noted(kind, hops=run.hops, actor=actor, entropy=entropy))
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelWorkflowRun(ProjectOperation):
    """End a workflow run and whatever goes on of it. Raises NotFound, or Conflict if it has ended."""

    workflow_run_id: str
    reason: str = CANCELED_BY_USER

    def touches(self) -> list[Touch]:
        return [*self.credential(), *workflow_run_touches(self.project_id, self.workflow_run_id)]

    def apply(self, tx: Transaction) -> WorkflowRun:
        self.authorize(tx)
        run = find_workflow_run(tx, self.project_id, self.workflow_run_id)
        check_lives(run, "cancel")
        note(tx, run, FactKind.WORKFLOW_RUN_CANCELED, self.actor, self.entropy, error=self.reason)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchWorkflowRun(ProjectOperation):
    """Pause a workflow run (nothing new starts) or let it go on; one that is so already stays so. Raises
    NotFound, or Conflict if it has ended."""

    workflow_run_id: str
    paused: bool

    def touches(self) -> list[Touch]:
        return [*self.credential(), *workflow_run_touches(self.project_id, self.workflow_run_id)]

    def apply(self, tx: Transaction) -> WorkflowRun:
        self.authorize(tx)
        run = find_workflow_run(tx, self.project_id, self.workflow_run_id)
        check_lives(run, "pause" if self.paused else "resume")
        if (run.status == WorkflowRunStatus.PAUSED) != self.paused:
            kind = FactKind.WORKFLOW_RUN_PAUSED if self.paused else FactKind.WORKFLOW_RUN_RESUMED
            note(tx, run, kind, self.actor, self.entropy)
        return run


def check_lives(run: WorkflowRun, verb: str) -> None:
    """Raise Conflict for one that has ended."""
    if run.status in WORKFLOW_RUN_ENDED:
        raise Conflict(f"The workflow run {run.id} is already {run.status}; there is nothing to {verb}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryWorkflowRun(ProjectOperation):
    """Start a new run that keeps the finished outputs of one that has ended badly, by the same definition.

    `steps` is how many the definition has. Raises NotFound, Conflict where it lives still or was completed, or
    LimitReached.
    """

    workflow_run_id: str
    steps: int
    timeout_secs: int

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            ("counters_by_project", self.project_id),
            *workflow_run_touches(self.project_id, self.workflow_run_id),
            *(
                ("steps_by_number", self.project_id, self.workflow_run_id, str(step))
                for step in range(self.steps)
            ),
        ]

    def apply(self, tx: Transaction) -> WorkflowRun:
        self.authorize(tx)
        ended = find_workflow_run(tx, self.project_id, self.workflow_run_id)
        if ended.status not in WORKFLOW_RUN_ENDED or ended.status == WorkflowRunStatus.COMPLETED:
            raise Conflict(
                f"The workflow run {ended.id} is {ended.status}. Only one that has failed, timed out or was "
                "canceled can be tried again as a new run; retry a step of one that lives."
            )
        check_room(tx, self.project_id)
        run = ended._replace(
            id=tx.new_id(self.entropy),
            version=1,
            status=WorkflowRunStatus.RUNNING,
            steps=kept(ended.steps),
            error=None,
            parent_run_id=None,
            parent_step=None,
            depth=0,
            hops=0,
            retry_of=ended.id,
            created_by=self.actor.label,
            created_at=tx.now,
            due_at=tx.now + self.timeout_secs * 1_000_000 if self.timeout_secs else None,
            finished_at=None,
            last_fact_id=None,
            top_run_id=None,
        )
        tx.share_payload(run.project_id, run.payload_id)
        self._keep_outputs(tx, ended, run)
        return begin_run(tx, run, self.actor.label, self.entropy)

    def _keep_outputs(self, tx: Transaction, ended: WorkflowRun, run: WorkflowRun) -> None:
        """The rows of completed steps, for the new run."""
        for number, status in enumerate(statuses(ended.steps)):
            row = tx.step(ended.project_id, ended.id, number)
            if status == StepStatus.COMPLETED and row is not None:
                tx.share_payload(run.project_id, row.output_id)
                tx.save(
                    row._replace(
                        workflow_run_id=run.id,
                        id=f"{run.id}:{row.step_ref}",
                        version=1,
                        run_id=None,
                        child_run_id=None,
                        wait_group_id=None,
                        last_fact_id=None,
                    )
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireWorkflowRuns:
    """End what is over its time among `ids` (project_id, workflow_run_id). Every transaction notes so of the
    overdue runs that it loads, so that touching them is all there is to do; answers how many they were."""

    background: ClassVar[bool] = True

    ids: tuple[tuple[str, str], ...]
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [touch for key in self.ids for touch in workflow_run_touches(*key)]

    def apply(self, tx: Transaction) -> int:
        runs = (tx.workflow_run(*key) for key in self.ids)
        return sum(1 for run in runs if run and run.due_at is not None and run.due_at <= tx.wall)


def small(body: str | None) -> dict[str, Any]:
    """The body of a message."""
    found: dict[str, Any] = json.loads(body or "{}")
    return found
