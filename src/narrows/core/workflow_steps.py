"""The steps of a definition, taken apart: what each kind says. How they are read is `workflow_reading.py`, how
they hang together `workflow_definitions.py`."""

from __future__ import annotations

from typing import NamedTuple

from narrows.core.states import Backoff, OnFailure, StepType
from narrows.core.templates import Template


class JobWork(NamedTuple):
    """A job's run; exactly one of id and slug."""

    job_id: str | None
    job_slug: str | None
    payload: Template | None


class SubWorkflow(NamedTuple):
    workflow_slug: str
    payload: Template | None


class EventWait(NamedTuple):
    """A wait for events under one key or several, of which `needed` must come; with `distinct_by` from as
    many different voters. `timeout_secs` 0 is no time-out. `expected_schema` is a JSON text. `veto_steps` are
    those that the veto names, None if it could be any."""

    keys: tuple[Template, ...]
    needed: int
    timeout_secs: int
    expected_schema: str | None
    request_payload: Template | None
    notify_url: Template | None
    distinct_by: tuple[str, ...] | None
    veto: str | None
    veto_steps: frozenset[str] | None


class Sleep(NamedTuple):
    """Until a time that a template gives, else for `duration_secs`."""

    duration_secs: int | None
    until: Template | None


class Approval(NamedTuple):
    """A decision by people: anybody's where no `approvers` are named. `timeout_secs` 0 is no time-out."""

    approvers: tuple[str, ...]
    min_approvals: int
    timeout_secs: int
    request_payload: Template | None
    notify_url: Template | None


Work = JobWork | SubWorkflow | EventWait | Sleep | Approval


class StepDefinition(NamedTuple):
    """One step. `max_attempts` None: the work's own retries are enough. `default_output` is the JSON text
    that completes it where it times out, None if a time-out is a failure. `condition_steps` are those that
    the condition names, None if it could be any."""

    ref: str
    type: StepType
    depends_on: tuple[str, ...]
    work: Work
    condition: str | None
    condition_steps: frozenset[str] | None
    on_failure: OnFailure
    default_output: str | None
    max_attempts: int | None
    backoff: Backoff
    first_pause_secs: int
    output_transform: str | None
    emit_key: Template | None

    @property
    def attempts(self) -> int:
        return self.max_attempts or 1

    @property
    def templates(self) -> tuple[Template, ...]:
        """What is filled in when it starts; its `emit_key` is only when it completes."""
        work = self.work
        found: tuple[Template | None, ...]
        if isinstance(work, JobWork | SubWorkflow):
            found = (work.payload,)
        elif isinstance(work, Sleep):
            found = (work.until,)
        elif isinstance(work, EventWait):
            found = (*work.keys, work.request_payload, work.notify_url)
        else:
            found = (work.request_payload, work.notify_url)
        return tuple(template for template in found if template is not None)
