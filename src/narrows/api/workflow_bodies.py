"""How the bodies about workflows are decoded. A definition is kept as the text that was sent: it is cut into the
texts of its members and read by the rules of `core`, which find every fault at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import Decoder
from msgspec.structs import fields

from narrows.api.checks import check_plain
from narrows.core.json_texts import NULL, Document, object_of
from narrows.core.states import StepType
from narrows.core.workflow_definitions import Definition
from narrows.core.workflow_steps import Approval, EventWait, JobWork, SubWorkflow
from narrows.errors import InvalidRequest
from narrows.operations.reads import Names
from narrows.outgoing.guard import Guard
from narrows.wire import workflow_messages as wire
from narrows.wire.payloads import compact

MAX_MEMBERS: Final = 200_000
#: What a definition consists of; anything else that was sent is not kept.
MEMBERS: Final = tuple(
    field.name for field in fields(wire.CreateWorkflowRequest) if field.name != "project_id"
)
#: The texts of a definition's members.
Texts = Mapping[str, str]


class TriggerWorkflowBody(wire.TriggerWorkflowRequest, kw_only=True):
    payload: Raw | UnsetType = UNSET


TRIGGER_WORKFLOW = Decoder(TriggerWorkflowBody)
WORKFLOW_RUN: Decoder[Any] = Decoder(wire.WorkflowRunRequest)
DECISION = Decoder(wire.DecisionRequest)


def members_of(body: bytes) -> Texts:
    """The members of a definition, or of a change of one. Raises InvalidRequest for what is no JSON object."""
    text = compact(body if body and not body.isspace() else b"{}", "definition", MAX_MEMBERS)
    document = Document(text)
    if not document.is_object:
        raise InvalidRequest("The definition must be an object, with a slug and steps.")
    return {name: each.text for name, each in document.members.items()}


def project_of(members: Texts) -> str | None:
    """The project that the body names."""
    project_id = json.loads(members.get("project_id", NULL))
    if project_id is not None and not isinstance(project_id, str):
        raise InvalidRequest("project_id must be a text.")
    return project_id


def definition_text(members: Texts) -> str:
    """The definition as it is kept, always in the same order."""
    return object_of((name, members[name]) for name in MEMBERS if members.get(name, NULL) != NULL)


def merged(definition: str, changes: Texts) -> Texts:
    """The members of a definition with some of them replaced; null takes one away."""
    return {name: each.text for name, each in Document(definition).members.items()} | dict(changes)


def border_faults(members: Texts) -> Iterator[str]:
    """What only the border asks: texts for people without control characters."""
    name, tags = (json.loads(members.get(each, NULL)) for each in ("name", "tags"))
    named = tags.items() if isinstance(tags, dict) else ()
    if "" in dict(named):
        yield "The workflow has a tag without a name."
    for what, text in (("name", name), *(("tags", part) for pair in named for part in pair)):
        try:
            check_plain(text if isinstance(text, str) else None, what)
        except InvalidRequest:
            yield f"The workflow has a wrong {what!r}: it holds a control character."
            return


def target_faults(definition: Definition, guard: Guard) -> Iterator[str]:
    """Addresses that are never called. What comes out of a template is asked when it is called."""
    for step in definition.steps:
        if not isinstance(step.work, EventWait | Approval) or step.work.notify_url is None:
            continue
        pieces = [piece for piece in step.work.notify_url.pieces if isinstance(piece, str)]
        if len(pieces) == len(step.work.notify_url.pieces):
            try:
                guard.check_url("".join(pieces))
            except InvalidRequest as refusal:
                yield f"Step {step.ref!r} has a wrong 'event_notify_url': {refusal.message}"


def notifies(definition: Definition) -> bool:
    """Whether a step of it makes deliveries."""
    works = (step.work for step in definition.steps)
    return any(isinstance(work, EventWait | Approval) and work.notify_url is not None for work in works)


def names_in(definition: Definition) -> Names:
    """What its steps name beside itself."""
    jobs = [step.work for step in definition.steps if isinstance(step.work, JobWork)]
    below = [step.work.workflow_slug for step in definition.steps if isinstance(step.work, SubWorkflow)]
    return Names(
        frozenset(work.job_id for work in jobs if work.job_id is not None),
        frozenset(work.job_slug for work in jobs if work.job_slug is not None),
        frozenset(below) - {definition.slug},
    )


def missing_notes(definition: Definition, missing: Names) -> Iterator[str]:
    """One sentence for each step that names what is not there. It may come until the step's turn comes."""
    for step in definition.steps:
        work = step.work
        if step.type == StepType.JOB and isinstance(work, JobWork):
            if work.job_id in missing.job_ids or work.job_slug in missing.job_slugs:
                yield f"Step {step.ref!r} names the job {work.job_id or work.job_slug!r}, which is not there yet."
        elif isinstance(work, SubWorkflow) and work.workflow_slug in missing.workflow_slugs:
            yield f"Step {step.ref!r} names the workflow {work.workflow_slug!r}, which is not there yet."
