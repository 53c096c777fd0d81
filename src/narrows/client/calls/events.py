"""The calls that send events, and those that show the events that found no wait. Each says beside
`repeat` why it may, or may not, be sent twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from narrows.client.call import (
    Call,
    Repeat,
    encode_body,
    encode_payload,
    encode_query,
    encode_segment,
    path_of,
)
from narrows.client.calls.triggers import MANY_COMMITS_SECS
from narrows.errors import InvalidRequest
from narrows.wire import messages
from narrows.wire.messages import BatchItem, Trigger


def send(
    event_key: str | Trigger | None = None,
    payload: Any = UNSET,
    *,
    trigger_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Trigger]:
    """Send an event to a waiting trigger, and return the trigger, `received`.

    `payload` is any JSON value; left out, the event has none; a `msgspec.Raw` is sent as it stands.
    Sending an equal payload again to a received trigger changes nothing and succeeds.

    Raises NotFound if nothing waits and nothing ever waited under the key, Conflict if the trigger is
    settled otherwise, SchemaMismatch if the payload does not fit (the wait stays open).

    Example::

        client.send("approval:order_1", {"approved": True})
    """
    path = path_of(event_key, trigger_id, "/send")
    by_id = path.startswith("/v1/triggers/")
    return Call(
        method="POST",
        path=path,
        body=encode_body(messages.SendRequest(payload=encode_payload(payload))),
        reply=Trigger,
        # By id an equal payload is accepted again, and can reach no other wait. By key a late repeat
        # could settle the next wait under it: only an Idempotency-Key makes that safe.
        repeat=Repeat.SAFE if by_id else Repeat.KEYED,
        idempotency_key=idempotency_key,
    )


def hold(
    event_key: str,
    payload: Any = UNSET,
    *,
    hold_secs: int,
    event_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Trigger | messages.Held]:
    """Send an event that may come before its wait: the waiting trigger gets it, else it is kept for
    `hold_secs` (1 to 2,592,000 seconds) and the next wait under the key gets it at once.

    Returns the Trigger that got it, or the Held event. `event_id` makes it once per project and key for
    as long as it is kept. Raises LimitReached at 1,000 held events a key or 100,000 a project.

    Example::

        client.hold("payment:42", {"paid": True}, hold_secs=3600)
    """
    request = messages.SendRequest(payload=encode_payload(payload), hold_secs=hold_secs, event_id=event_id)
    return Call(
        method="POST",
        path=path_of(event_key, None, "/send"),
        body=encode_body(request),
        reply=Trigger,
        other_replies=((202, messages.Held),),
        repeat=Repeat.KEYED,  # a second sending would be a second event
        idempotency_key=idempotency_key,
    )


def send_batch(
    events: Iterable[BatchItem], *, idempotency_key: str | None = None
) -> Call[messages.BatchResult]:
    """Send up to 1,000 events in one commit; each has its own result, in order, and none needs another.

    Nothing is raised for an item that was refused: see its `status`, `error` and `code`.

    Example::

        client.send_batch([BatchItem(event_key="a", payload=1), BatchItem(event_key="b", payload=2)])
    """
    items = [msgspec.structs.replace(item, payload=encode_payload(item.payload)) for item in events]
    return Call(
        method="POST",
        path="/v1/events/batch",
        body=encode_body(messages.BatchRequest(events=items)),
        reply=messages.BatchResult,
        repeat=Repeat.KEYED,  # as send by key
        idempotency_key=idempotency_key,
    )


def send_prefix(
    prefix: str, payload: Any = UNSET, *, dry_run: bool = False, idempotency_key: str | None = None
) -> Call[messages.PrefixResult]:
    """Send one event to every waiting trigger whose key starts with `prefix`, byte for byte.

    `resolved` counts all of them, `triggers` lists the first 1,000. With `dry_run` none is touched.

    Example::

        client.send_prefix("batch-42:", {"go": True})
    """
    request = messages.PrefixSendRequest(payload=encode_payload(payload), dry_run=dry_run)
    return Call(
        method="POST",
        path=f"/v1/events/prefix/{encode_segment(prefix)}/send",
        body=encode_body(request),
        reply=messages.PrefixResult,
        # Keyed: a repeat goes on where the first one was and answers the total, and reaches no wait
        # that was opened since. A dry run changes nothing.
        repeat=Repeat.SAFE if dry_run else Repeat.KEYED,
        idempotency_key=idempotency_key,
        answer_secs=MANY_COMMITS_SECS,
    )


def send_to_callback(callback_url: str, payload: Any = UNSET) -> Call[messages.CallbackReceipt]:
    """Send the event of a callback URL, as a provider would; only its path is used, on this client's server.

    Raises Conflict if its trigger is settled otherwise, NotFound if there is no such address.
    """
    encoded = encode_payload(payload)
    return Call(
        method="POST",
        path=_path_of_callback(callback_url),
        body=None if encoded is UNSET else bytes(encoded),
        reply=messages.CallbackReceipt,
        repeat=Repeat.SAFE,  # bound to one trigger, like a send by id
    )


def show_callback(callback_url: str) -> Call[messages.CallbackAddress]:
    """What someone sees who opens a callback URL: it does nothing."""
    return Call(method="GET", path=_path_of_callback(callback_url), reply=messages.CallbackAddress)


def _path_of_callback(callback_url: str) -> str:
    """The URL is a secret, so it is not repeated in the error."""
    before, _, token = urlsplit(callback_url).path.rpartition("/")
    if not token or not before.endswith("/h"):
        raise InvalidRequest("This is no callback URL; it ends in /h/ and a token.")
    return f"/h/{encode_segment(token)}"


def held_events(
    *, event_key: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Call[messages.HeldPage]:
    """One page of the events that are kept for waits to come."""
    query = encode_query(event_key=event_key, limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/held-events", query=query, reply=messages.HeldPage)


def delete_held_event(held_id: str) -> Call[messages.Held]:
    """Discard a held event. Raises NotFound, also if a repeat found it gone after a lost connection."""
    path = f"/v1/held-events/{encode_segment(held_id)}"
    return Call(method="DELETE", path=path, reply=messages.Held, repeat=Repeat.SAFE)  # ids are never reused


def unmatched_events(
    *, event_key: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Call[messages.UnmatchedPage]:
    """One page of the events that arrived and settled nothing, without payloads, newest first."""
    query = encode_query(event_key=event_key, limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/unmatched-events", query=query, reply=messages.UnmatchedPage)
