"""`/v1/deliveries`: the outgoing webhooks, listed and tried again; what each of them sends; and what is
asked of a `notify_url` before a wait may have one. Who sends them is the engine's affair."""

from __future__ import annotations

from typing import Final

from narrows.api import bodies, idempotency, render, replies
from narrows.api.call import Call
from narrows.api.checks import choice, stated
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.core.run_records import Delivery
from narrows.core.states import DeliveryStatus
from narrows.errors import Conflict
from narrows.operations import reads
from narrows.operations.base import Replayed
from narrows.operations.deliveries import RetryDelivery
from narrows.operations.idempotency import Kept
from narrows.operations.reads.deliveries import GetDelivery, ListDeliveries, Parcel
from narrows.wire import run_messages as messages

STATUSES: Final = tuple(DeliveryStatus)


async def list_deliveries(call: Call) -> Reply:
    """List outgoing webhooks, newest first."""
    limit, cursor = call.page()
    found = await call.service.read(
        ListDeliveries(
            project_id=await call.project(),
            status=choice(stated(call.query, "status"), "status", STATUSES),
            trigger_id=stated(call.query, "trigger_id"),
            limit=limit,
            cursor=cursor,
        )
    )
    return replies.page(messages.DeliveryPage, found, [render.delivery(each) for each in found.items])


async def retry_delivery(call: Call) -> Reply:
    """Send an outgoing webhook again now, under the same id."""
    body = await bodies.decode(call, bodies.RETRY_DELIVERY)
    project_id = await call.project(body.project_id)
    found = await call.service.read(GetDelivery(project_id, call.param))
    operation = RetryDelivery(
        actor=call.credential.actor,
        project_id=project_id,
        entropy=call.entropy(),
        delivery_id=found.id,
        trigger_id=found.trigger_id,
    )
    outcome = await idempotency.perform(call, operation, _keep)
    if isinstance(outcome, Replayed):
        return await idempotency.replay(call, outcome.record)
    return 200, encode(render.delivery(outcome))


def _keep(delivery: Delivery) -> Kept:
    return Kept(status=200, reply=encode(render.delivery(delivery)).decode())


async def check_notify_url(call: Call, project_id: str, url: str | None) -> None:
    """Raise InvalidRequest for an address that is never called, Conflict where nothing could be signed.
    What the address's name leads to is asked when it is called."""
    if url is None:
        return
    call.api.settings.guard.check_url(url)
    await check_can_sign(call, project_id)


async def check_can_sign(call: Call, project_id: str) -> None:
    """Raise Conflict where a delivery could not be signed."""
    project = await call.service.read(reads.GetProject(project_id=project_id))
    if project is not None and project.signing_secrets is None:
        raise Conflict(
            "The project has no signing secret for its deliveries. Make one with "
            f"POST /v1/projects/{project_id}/rotate-secret, then send this again."
        )


def body_of(parcel: Parcel) -> bytes:
    """What a delivery sends, the same at every attempt."""
    return encode(render.delivery_body(parcel.delivery, parcel.trigger, parcel.expected_schema))
