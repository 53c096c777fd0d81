"""The calls about outgoing webhooks: what was told to the `notify_url`s of waits, and telling it again.
Each says beside `repeat` why it may, or may not, be sent twice."""

from __future__ import annotations

from narrows.client.call import Call, Repeat, encode_body, encode_query, encode_segment
from narrows.wire import run_messages
from narrows.wire.run_messages import Delivery, DeliveryPage


def list_deliveries(
    *,
    status: str | None = None,
    trigger_id: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[DeliveryPage]:
    """One page of outgoing webhooks, newest first. `status` is pending, delivered or failed."""
    query = encode_query(status=status, trigger_id=trigger_id, limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/deliveries", query=query, reply=DeliveryPage)


def retry_delivery(delivery_id: str, *, idempotency_key: str | None = None) -> Call[Delivery]:
    """Send an outgoing webhook again now, under the same id, also one that has failed for good.

    Raises NotFound, and Conflict if it has been delivered.
    """
    return Call(
        method="POST",
        path=f"/v1/deliveries/{encode_segment(delivery_id)}/retry",
        body=encode_body(run_messages.RetryDeliveryRequest()),
        reply=Delivery,
        repeat=Repeat.KEYED,  # between a lost answer and its repeat it may have been delivered, a conflict
        idempotency_key=idempotency_key,
    )
