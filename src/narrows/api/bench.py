"""`POST /bench/noop`, which only the benchmark switches on: authentication, body, payload check and a
reply of the size of a send's, without the operation. What a send costs beyond it is the store."""

from __future__ import annotations

from typing import Final

from narrows.api import bodies, replies
from narrows.api.call import Call
from narrows.api.routing import Reply
from narrows.core import records
from narrows.core.states import SourceType, TriggerStatus, TriggerType

#: What the benchmark's no-op answers with.
_SAMPLE: Final = records.Trigger(
    project_id="default",
    id="019ab000-0000-7000-8000-000000000000",
    event_key="order:00000000",
    ordinal=1,
    version=2,
    trigger_type=TriggerType.EVENT,
    source_type=SourceType.JOB_RUN,
    status=TriggerStatus.RECEIVED,
    root_id=None,
    wait_group_id=None,
    workflow_run_id=None,
    workflow_step_run_id=None,
    job_run_id=None,
    waiter="client",
    name=None,
    tags=None,
    request_payload=None,
    request_payload_id=None,
    response_payload=None,
    response_payload_id=None,
    expected_schema_id=None,
    timeout_secs=3600,
    requested_at=1_795_466_444_123_456,
    expires_at=1_795_470_044_123_456,
    received_at=1_795_466_445_123_456,
    settled_at=1_795_466_445_123_456,
    error=None,
    sent_by="dev",
    opened_by="dev",
    last_fact_id=None,
)


async def noop(call: Call) -> Reply:
    """For the benchmark: all of a send but its operation, with a reply of the same size."""
    body = await bodies.decode(call, bodies.SEND)
    project_id = await call.project(body.project_id)
    payload = bodies.payload_text(body.payload)
    return await replies.trigger(call, _SAMPLE._replace(project_id=project_id, response_payload=payload))
