"""A workflow run for tests, told in the refs of its steps."""

from __future__ import annotations

from typing import Any

from narrows.core.states import FactKind, WorkflowRunStatus
from narrows.core.step_states import fresh, statuses
from narrows.core.workflow_definitions import parse
from narrows.core.workflow_fields import TRUSTED
from narrows.core.workflows import Advance, Answer, Happened, advance

DONE, FAILED, TIMED_OUT, CANCELED = (
    FactKind.STEP_COMPLETED,
    FactKind.STEP_FAILED,
    FactKind.STEP_TIMED_OUT,
    FactKind.STEP_CANCELED,
)
PAUSED, RESUMED = FactKind.WORKFLOW_RUN_PAUSED, FactKind.WORKFLOW_RUN_RESUMED


def job(ref: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"step_ref": ref, "job_slug": "j", "depends_on": list(after), **fields}


def wait(ref: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"step_ref": ref, "type": "wait_for_event", "event_key": ref, "depends_on": list(after), **fields}


class Story:
    """A workflow run, told in refs. It has begun."""

    def __init__(
        self, *steps: dict[str, Any], answers: dict[str, Answer] | None = None, **fields: Any
    ) -> None:
        parsed = parse({"slug": "w", "steps": list(steps), **fields}, TRUSTED)
        assert parsed.definition is not None, parsed.faults
        self.definition = parsed.definition
        self.state, self.steps = WorkflowRunStatus.RUNNING, fresh(len(steps))
        self.last = self.tell((FactKind.WORKFLOW_RUN_CREATED, None), answers=answers)

    def tell(
        self, *happened: tuple[FactKind, str | None] | Happened, answers: dict[str, Answer] | None = None
    ) -> Advance:
        places = self.definition.places
        told = [
            each
            if isinstance(each, Happened)
            else Happened(each[0], None if each[1] is None else places[each[1]])
            for each in happened
        ]
        answered = {places[ref]: answer for ref, answer in (answers or {}).items()}
        self.last = advance(self.definition, self.state, self.steps, told, answered)
        assert self.last.questions == ()
        self.state, self.steps = self.last.status, self.last.steps
        return self.last

    def end(
        self, kind: FactKind, ref: str, attempt: int = 1, error: str | None = "why", final: bool = False
    ) -> Advance:
        return self.tell(Happened(kind, self.definition.places[ref], attempt, error, final))

    @property
    def status(self) -> str:
        return str(self.state)

    @property
    def started(self) -> list[str]:
        return [self.definition.steps[step].ref for step in self.last.starts]

    @property
    def closed(self) -> list[str]:
        return [self.definition.steps[step].ref for step in self.last.closes]

    @property
    def now(self) -> dict[str, str]:
        return {
            step.ref: str(each)
            for step, each in zip(self.definition.steps, statuses(self.steps), strict=True)
        }

    @property
    def kinds(self) -> list[str]:
        return [str(change.kind) for change in self.last.changes]

    @property
    def error(self) -> str | None:
        return next(change.error for change in self.last.changes if change.step is None)
