"""The calls that open, show, end and count triggers. Each says beside `repeat` why it may, or may
not, be sent twice. A wait is named by its key, or by a `Trigger` or `trigger_id=`, then by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

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
from narrows.wire import messages
from narrows.wire.messages import Trigger

#: Purges and prefix sends run in many commits; the answer comes after the last one.
MANY_COMMITS_SECS = 600.0


def open(  # noqa: A001 - the same verb everywhere: route, method, command
    event_key: str,
    *,
    timeout_secs: int = 3600,
    request_payload: Any = UNSET,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    expected_schema: Any = UNSET,
    notify_url: str | None = None,
    callback_url: bool = False,
    if_waiting: Literal["refuse", "join"] = "refuse",
    idempotency_key: str | None = None,
) -> Call[Trigger]:
    """Open a wait for the event `event_key`, and return its trigger: `waiting`, or `received` at once if
    an event was held for it.

    `timeout_secs`: 0 (no time-out) to 31,536,000 seconds. `request_payload`: any JSON value, for whoever
    answers. `expected_schema`: a JSON Schema that payloads must fit. `notify_url` is told, signed, when the
    wait is opened and settled. `callback_url` True gives a secret address for providers in
    `trigger.callback_url`. `if_waiting` "join" returns the trigger that waits under the key already.

    Raises Conflict if the key is waiting (and `if_waiting` is "refuse"), InvalidRequest.

    Example::

        trigger = client.open("approval:order_1", timeout_secs=600, request_payload={"amount": 12})
    """
    request = messages.OpenTriggerRequest(
        event_key=event_key,
        timeout_secs=timeout_secs,
        request_payload=encode_payload(request_payload),
        name=name,
        tags=None if tags is None else dict(tags),
        expected_schema=encode_payload(expected_schema),
        notify_url=notify_url,
        callback_url=callback_url,
        if_waiting=if_waiting,
    )
    return Call(
        method="POST",
        path="/v1/events",
        body=encode_body(request),
        reply=Trigger,
        # Keyed also with "join": the first sending may have opened a wait that was settled at once,
        # and a second one would open another, which nobody answers.
        repeat=Repeat.KEYED,
        idempotency_key=idempotency_key,
    )


def get(event_key: str | Trigger | None = None, *, trigger_id: str | None = None) -> Call[Trigger]:
    """One trigger: by key the waiting one, else the newest; by id exactly that one.

    Raises NotFound, with near keys in `details` where there are some.

    Example::

        trigger = client.get("approval:order_1")
        trigger = client.get(trigger_id=trigger.id)
    """
    return Call(method="GET", path=path_of(event_key, trigger_id), reply=Trigger)


def list(  # noqa: A001 - the same verb everywhere: route, method, command
    *,
    status: str | None = None,
    source_type: str | None = None,
    event_key: str | None = None,
    key_prefix: str | None = None,
    tag: str | None = None,
    workflow_run_id: str | None = None,
    job_run_id: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[messages.TriggerPage]:
    """One page of triggers, newest first; `iterate` goes through all pages.

    `tag` is "name" or "name:value"; `limit` 1 to 100, default 50; `cursor` is a page's `next_cursor`.

    Example::

        page = client.list(status="waiting", limit=20)
    """
    query = encode_query(
        status=status,
        source_type=source_type,
        event_key=event_key,
        key_prefix=key_prefix,
        tag=tag,
        workflow_run_id=workflow_run_id,
        job_run_id=job_run_id,
        limit=limit,
        cursor=cursor,
    )
    return Call(method="GET", path="/v1/events", query=query, reply=messages.TriggerPage)


def stats() -> Call[messages.Stats]:
    """How many triggers there are by status, and how long the received ones waited (mean, seconds)."""
    return Call(method="GET", path="/v1/events/stats", reply=messages.Stats)


def cancel(event_key: str | Trigger | None = None, *, trigger_id: str | None = None) -> Call[Trigger]:
    """Cancel a waiting trigger, and return it.

    Raises NotFound, and Conflict if it is settled.

    Example::

        client.cancel(trigger)
    """
    path = path_of(event_key, trigger_id)
    if path.startswith("/v1/triggers/"):
        # Safe: it can only hit this trigger. If the repeat is a conflict, a look tells who canceled it.
        confirm: Call[Trigger] = Call(method="GET", path=path, reply=Trigger)
        return Call(method="DELETE", path=path, reply=Trigger, repeat=Repeat.SAFE, confirm=confirm)
    # Never: a late repeat could cancel the next wait under the key.
    return Call(method="DELETE", path=path, reply=Trigger, repeat=Repeat.NEVER)


def extend(trigger_id: str, *, timeout_secs: int) -> Call[Trigger]:
    """`Client.extend`, where the id is known."""
    # Safe: the time-out counts from now, so a repeat moves it by no more than the time between.
    request = messages.ExtendRequest(timeout_secs=timeout_secs)
    path = f"/v1/triggers/{encode_segment(trigger_id)}/extend"
    return Call(method="POST", path=path, body=encode_body(request), reply=Trigger)


def wait_once(*, trigger_id: str, timeout_secs: int = 30) -> Call[Trigger]:
    """One long poll: the trigger when it is settled, or as it is after `timeout_secs` (at most 60)."""
    path = f"/v1/triggers/{encode_segment(trigger_id)}/wait"
    query = encode_query(timeout_secs=timeout_secs)
    return Call(method="GET", path=path, query=query, reply=Trigger, answer_secs=timeout_secs + 10.0)


def create_callback_url(trigger_id: str) -> Call[messages.CallbackUrl]:
    """`Client.create_callback_url`, where the id is known."""
    # Safe, and without a key, under which the repeat would be refused since its reply is a secret: a
    # lost first sending leaves an address that nobody knows.
    path = f"/v1/triggers/{encode_segment(trigger_id)}/callback-urls"
    return Call(method="POST", path=path, reply=messages.CallbackUrl)


def purge(*, older_than_days: int, dry_run: bool = False) -> Call[messages.PurgeResult]:
    """Delete the triggers that were settled over `older_than_days` (1 to 36,500) days ago.

    With `dry_run` nothing is deleted and `would_delete` counts them. After a lost connection the count
    may be that of the second sending only.

    Example::

        print(client.purge(older_than_days=30, dry_run=True).would_delete)
    """
    request = messages.PurgeRequest(older_than_days=older_than_days, dry_run=dry_run)
    return Call(
        method="POST",
        path="/v1/events/purge",
        body=encode_body(request),
        reply=messages.PurgeResult,
        repeat=Repeat.SAFE,  # what is deleted is deleted
        answer_secs=MANY_COMMITS_SECS,
    )


def explain(event_key: str) -> Call[messages.Explanation]:
    """Why a wait under this key did, or did not, fire: what arrived when, near keys, what a schema refused.

    Example::

        print(*client.explain("approval:order_1").lines, sep="\\n")
    """
    query = encode_query(event_key=event_key)
    return Call(method="GET", path="/v1/explain", query=query, reply=messages.Explanation)
