"""`/h/<token>`: where a provider posts that can neither set our header nor wrap its body. The token
is the whole credential: 256 bits, hashed at rest, bound to one wait. The body is the payload."""

from __future__ import annotations

from narrows.api.call import Call
from narrows.api.keys import hash_secret
from narrows.api.render import trigger
from narrows.api.replies import encode
from narrows.api.routing import Reply
from narrows.operations.base import NO_ANSWERS
from narrows.operations.events import SendToCallback
from narrows.wire import messages
from narrows.wire.payloads import compact


async def show_callback(_: Call) -> Reply:
    """Say what a callback URL is.

    GET and HEAD look at nothing and change nothing: mail scanners and previews follow links.
    """
    return 200, encode(
        messages.CallbackAddress(
            message="This is the callback address of a wait. POST any JSON body here to send it as the event; "
            "opening the address does nothing."
        )
    )


async def send_to_callback(call: Call) -> Reply:
    """Send the event of a callback URL: the whole body is the payload."""
    body = await call.body()
    payload = compact(body, "body") if body and not body.isspace() else None
    outcome = await call.perform(
        SendToCallback(
            token_hash=hash_secret(call.param),
            payload=payload,
            entropy=call.entropy(),
            answers=NO_ANSWERS,
        )
    )
    shown = trigger(outcome.trigger)
    return 200, encode(
        messages.CallbackReceipt(id=shown.id, status=shown.status, received_at=shown.received_at)
    )
