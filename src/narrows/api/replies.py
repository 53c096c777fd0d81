"""Replies that need more than the record at hand: payload bodies that live in rows of their own,
expected schemas, pages. Pure rendering is in `render.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from narrows.api import render
from narrows.core.records import Trigger
from narrows.operations import reads
from narrows.wire import messages

if TYPE_CHECKING:
    from narrows.api.call import Call
    from narrows.api.routing import Reply
    from narrows.operations.service import Service

encode = msgspec.json.Encoder().encode


def _lacks_body(record: Trigger) -> bool:
    return (record.request_payload_id is not None and record.request_payload is None) or (
        record.response_payload_id is not None and record.response_payload is None
    )


def message_at_hand(record: Trigger) -> messages.Trigger | None:
    """One trigger, complete, where nothing has to be read for it."""
    if record.expected_schema_id is not None or _lacks_body(record):
        return None
    return render.trigger(record)


async def trigger_message(
    service: Service, record: Trigger, callback_url: str | None = None
) -> messages.Trigger:
    """One trigger, complete."""
    if _lacks_body(record):
        (record,) = await service.read(reads.LoadBodies(triggers=(record,)))
    schema = None
    if record.expected_schema_id is not None:
        schema = await service.read(
            reads.LoadSchema(project_id=record.project_id, payload_id=record.expected_schema_id)
        )
    return render.trigger(record, schema, callback_url)


async def trigger_messages(service: Service, found: Sequence[Trigger]) -> list[messages.Trigger]:
    """Many triggers, complete, their bodies loaded by one read."""
    if any(map(_lacks_body, found)):
        found = await service.read(reads.LoadBodies(triggers=tuple(found)))
    return [
        render.trigger(record)
        if record.expected_schema_id is None
        else await trigger_message(service, record)
        for record in found
    ]


async def trigger(call: Call, record: Trigger, status: int = 200, callback_url: str | None = None) -> Reply:
    """The reply of whatever answers with one trigger."""
    return status, encode(await trigger_message(call.service, record, callback_url))


def page(kind: type[Any], page_read: Any, data: list[Any], **more: Any) -> Reply:
    """The reply of a list."""
    return 200, encode(
        kind(data=data, has_more=page_read.has_more, next_cursor=page_read.next_cursor, **more)
    )
