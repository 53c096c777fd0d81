"""Events without a wait: `/v1/held-events`, kept for the next wait, and `/v1/unmatched-events`,
what arrived and settled nothing."""

from __future__ import annotations

from narrows.api import render, replies
from narrows.api.call import Call
from narrows.api.checks import stated
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core.keys import check_key
from narrows.operations import reads
from narrows.operations.events import DeleteHeldEvent
from narrows.wire import messages


async def list_held_events(call: Call) -> Reply:
    """List events that are held for their wait."""
    limit, cursor = call.page()
    found = await call.service.read(
        reads.ListHeldEvents(
            project_id=await call.project(), event_key=_event_key(call), limit=limit, cursor=cursor
        )
    )
    return replies.page(messages.HeldPage, found, [render.held(each, listed=True) for each in found.items])


async def delete_held_event(call: Call) -> Reply:
    """Discard a held event."""
    deleted = await call.perform(
        DeleteHeldEvent(
            actor=call.credential.actor,
            project_id=await call.project(),
            entropy=call.entropy(),
            held_id=call.param,
        )
    )
    gone = render.held(deleted, listed=True)
    gone.held = False
    return 200, encode(gone)


async def list_unmatched_events(call: Call) -> Reply:
    """List events that arrived and settled nothing."""
    limit, cursor = call.page()
    project_id = await call.project()
    found = await call.service.read(
        reads.ListUnmatched(project_id=project_id, event_key=_event_key(call), limit=limit, cursor=cursor)
    )
    data = [render.unmatched(each) for each in found.items]
    dropped = call.service.unmatched.dropped_in(project_id)
    return replies.page(messages.UnmatchedPage, found, data, dropped=dropped or None)


def _event_key(call: Call) -> str | None:
    key = stated(call.query, "event_key")
    return None if key is None else check_key(key, "event_key")
