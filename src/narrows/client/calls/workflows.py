"""The calls about workflows: their definitions, and the one that starts a run. Each says beside `repeat` why
it may, or may not, be sent twice. A workflow is named by its slug or its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from narrows.client.call import (
    Call,
    Repeat,
    encode_body,
    encode_payload,
    encode_query,
    encode_segment,
    is_id,
)
from narrows.wire import workflow_messages
from narrows.wire.workflow_messages import Workflow, WorkflowRun


def create_workflow(definition: Mapping[str, Any], *, idempotency_key: str | None = None) -> Call[Workflow]:
    """Make a workflow from its definition: `slug`, `steps` and what else it has.

    Raises InvalidRequest with every fault in `details`, and Conflict if the slug is taken.

    Example::

        client.create_workflow({
            "slug": "deploy-gate",
            "steps": [
                {"step_ref": "build", "job_slug": "build"},
                {"step_ref": "sign-off", "step_type": "approval", "depends_on": ["build"]},
            ],
        })
    """
    return Call(
        method="POST",
        path="/v1/workflows",
        body=_encode(definition),
        reply=Workflow,
        repeat=Repeat.KEYED,  # so that a repeat's conflict can be told from somebody else's
        idempotency_key=idempotency_key,
    )


def dry_run_workflow(definition: Mapping[str, Any]) -> Call[workflow_messages.DryRun]:
    """Check a definition without saving it: the order of its steps, and every fault at once."""
    return Call(
        method="POST",
        path="/v1/workflows/dry-run",
        body=_encode(definition),
        reply=workflow_messages.DryRun,
        repeat=Repeat.SAFE,  # it only looks
    )


def list_workflows(
    *, limit: int | None = None, cursor: str | None = None
) -> Call[workflow_messages.WorkflowPage]:
    """One page of workflows, newest first, without their definitions."""
    query = encode_query(limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/workflows", query=query, reply=workflow_messages.WorkflowPage)


def get_workflow(workflow: str) -> Call[Workflow]:
    """One workflow, with its newest definition. Raises NotFound."""
    return Call(method="GET", path=_path_of_workflow(workflow), reply=Workflow)


def update_workflow(workflow: str, changes: Mapping[str, Any]) -> Call[Workflow]:
    """Change a workflow: the members that are given replace those of its newest definition, `steps` as a
    whole; None takes an optional one away. Runs that exist keep the version that they were started with.

    Raises NotFound, InvalidRequest with every fault in `details`, and Conflict if somebody else changed it at
    the same time, or a new slug is taken.

    Example::

        client.update_workflow("deploy-gate", {"timeout_secs": 1_209_600})
    """
    return Call(
        method="PATCH",
        path=_path_of_workflow(workflow),
        body=_encode(changes),
        reply=Workflow,
        repeat=Repeat.SAFE,  # it sets values; a second setting finds them set, and makes no version
    )


def delete_workflow(workflow: str) -> Call[Workflow]:
    """Delete a workflow, and return it. Runs that live go on to their end; its slug is free. Raises NotFound."""
    return Call(
        method="DELETE",
        path=_path_of_workflow(workflow),
        reply=Workflow,
        # By slug never: the slug is free once it is done, and a late repeat could hit the next workflow.
        repeat=Repeat.SAFE if is_id(workflow) else Repeat.NEVER,
    )


def trigger_workflow(
    workflow: str,
    payload: Any = UNSET,
    *,
    tags: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Call[WorkflowRun]:
    """Start a run of a workflow, and return it.

    `payload` is any JSON value. The same `idempotency_key` within a day gives the same run; left out, one is
    made for this call. Raises NotFound, and InvalidRequest naming what the payload lacks.

    Example::

        run = client.trigger_workflow("deploy-gate", {"release": 1042})
    """
    request = workflow_messages.TriggerWorkflowRequest(
        payload=encode_payload(payload), tags=None if tags is None else dict(tags)
    )
    return Call(
        method="POST",
        path=_path_of_workflow(workflow, "/trigger"),
        body=encode_body(request),
        reply=WorkflowRun,
        repeat=Repeat.KEYED,  # a second sending would be a second run
        idempotency_key=idempotency_key,
    )


def _path_of_workflow(workflow: str, tail: str = "") -> str:
    return f"/v1/workflows/{encode_segment(workflow)}{tail}"


def _encode(definition: Mapping[str, Any]) -> bytes:
    """A definition as a body. Members that are a `msgspec.Raw` are sent as they stand."""
    return msgspec.json.encode({name: encode_payload(value) for name, value in definition.items()})
