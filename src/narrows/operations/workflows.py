"""Workflows: making one, giving it a new definition, deleting it. What they run is in `workflow_runs.py`; what a
definition may say is looked at before (`definitions.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.core.states import FactKind
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_records import Workflow, WorkflowVersion
from narrows.errors import Conflict, NotFound
from narrows.operations.base import ProjectOperation, check_project
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


def workflow_touches(project_id: str, workflow: str) -> list[Touch]:
    """A workflow by its id or its slug."""
    return [("workflows_by_id", project_id, workflow), ("workflows_by_slug", project_id, workflow)]


def changed_workflow_touches(project_id: str, workflow: str) -> list[Touch]:
    """The same for whoever changes it: nobody starts a run of it meanwhile."""
    return [
        ("workflows_to_change", project_id, workflow),
        ("workflows_to_change_by_slug", project_id, workflow),
    ]


def find_workflow(tx: Transaction, project_id: str, workflow: str) -> Workflow:
    """By its slug, else by its id. Raises NotFound, also for a deleted one."""
    found = tx.workflow_by_slug(project_id, workflow) or tx.workflow(project_id, workflow)
    if found is None or found.deleted_at is not None:
        raise NotFound(
            f"There is no workflow {workflow!r}. List the workflows with GET /v1/workflows, or create it."
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _DefiningOperation(ProjectOperation):
    """`text` is the definition as it was sent (compacted), `definition` the same, read and without faults."""

    text: str
    definition: Definition

    @property
    def size_bytes(self) -> int:
        return len(self.text)

    def save(self, tx: Transaction, workflow: Workflow, kind: FactKind) -> Workflow:
        """The workflow, its newest version, and the fact that says so."""
        tx.save(workflow)
        tx.save(WorkflowVersion(workflow.project_id, workflow.id, workflow.version, self.text, tx.now))
        _record(tx, workflow, kind, self)
        return workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateWorkflow(_DefiningOperation):
    """Make a workflow. Raises NotFound (the project), or Conflict where the slug is taken."""

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            ("projects_by_id", self.project_id),
            ("workflows_by_slug", self.project_id, self.definition.slug),
        ]

    def apply(self, tx: Transaction) -> Workflow:
        self.authorize(tx)
        check_project(tx, self.project_id)
        definition = self.definition
        _check_slug_is_free(tx, self.project_id, definition.slug)
        workflow = Workflow(
            project_id=self.project_id,
            id=tx.new_id(self.entropy),
            slug=definition.slug,
            name=definition.name,
            description=definition.description,
            tags=definition.tags,
            version=1,
            created_at=tx.now,
            updated_at=tx.now,
            deleted_at=None,
        )
        return self.save(tx, workflow, FactKind.WORKFLOW_CREATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateWorkflow(_DefiningOperation):
    """Give a workflow (slug or id) a new definition, made from that of `base_version`; runs that there are keep
    theirs. Raises NotFound, or Conflict where it has another version by now or a new slug is taken."""

    workflow: str
    base_version: int

    def touches(self) -> list[Touch]:
        return [
            *self.credential(),
            *changed_workflow_touches(self.project_id, self.workflow),
            ("workflows_to_change_by_slug", self.project_id, self.definition.slug),
        ]

    def apply(self, tx: Transaction) -> Workflow:
        self.authorize(tx)
        workflow, definition = find_workflow(tx, self.project_id, self.workflow), self.definition
        if workflow.version != self.base_version:
            raise Conflict(
                f"The workflow {workflow.slug!r} has version {workflow.version} by now. Read it again, then "
                "make your change to that."
            )
        if definition.slug != workflow.slug:
            _check_slug_is_free(tx, self.project_id, definition.slug)
        changed = workflow._replace(
            slug=definition.slug,
            name=definition.name,
            description=definition.description,
            tags=definition.tags,
            version=workflow.version + 1,
            updated_at=tx.now,
        )
        return self.save(tx, changed, FactKind.WORKFLOW_UPDATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWorkflow(ProjectOperation):
    """Delete a workflow (slug or id): nothing of it starts any more, and its slug is free. Runs that live go on
    to their end. Raises NotFound."""

    workflow: str

    def touches(self) -> list[Touch]:
        return [*self.credential(), *changed_workflow_touches(self.project_id, self.workflow)]

    def apply(self, tx: Transaction) -> Workflow:
        self.authorize(tx)
        workflow = find_workflow(tx, self.project_id, self.workflow)
        deleted = workflow._replace(updated_at=tx.now, deleted_at=tx.now)
        tx.save(deleted)
        _record(tx, deleted, FactKind.WORKFLOW_DELETED, self)
        return deleted


def _check_slug_is_free(tx: Transaction, project_id: str, slug: str) -> None:
    taken = tx.workflow_by_slug(project_id, slug)
    if taken is not None:
        raise Conflict(
            f"The slug {slug!r} is that of the workflow {taken.id}. Update that one, or take another slug."
        )


def _record(tx: Transaction, workflow: Workflow, kind: FactKind, operation: ProjectOperation) -> None:
    tx.record_fact(
        kind,
        workflow.project_id,
        workflow.id,
        operation.actor.label,
        operation.entropy,
        version=workflow.version,
    )
