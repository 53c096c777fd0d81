"""Calls as HTTP requests, and replies as outcomes. Pure; who sends them is `recorder.py`."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from narrows.wire.times import from_text
from tests.linearizability.history import Asked, Call, Outcome, Seen, SeenHeld
from tests.linearizability.state import WAITING

#: What a 409 names.
NAMED = re.compile(r"\b(received|timed_out|canceled)\b")
#: Said of a call whose outcome the server itself does not know.
OUTCOME_UNKNOWN = 504


class Strange(Exception):
    """A reply that is wrong whatever was asked before; no history is needed to refuse it."""


class Sent(NamedTuple):
    method: str
    target: str
    body: dict[str, Any] | None = None


def request(asked: Asked, key: str, prefix: str) -> Sent:
    """The request of a call. Keys and prefixes here are plain ASCII words."""
    by_id = f"/v1/triggers/{asked.trigger_id}"
    payload = {} if asked.payload is None else {"payload": json.loads(asked.payload)}
    match asked.call:
        case Call.OPEN:
            how = "join" if asked.join else "refuse"
            body = {"event_key": key, "timeout_secs": asked.timeout_secs, "if_waiting": how}
            return Sent("POST", "/v1/events", body)
        case Call.START:
            slug = workflow(asked.timeout_secs)["slug"]
            return Sent("POST", f"/v1/workflows/{slug}/trigger", {"payload": {"key": key}})
        case Call.SEND:
            more = {"hold_secs": asked.hold_secs, "event_id": asked.event_id}
            given = {name: value for name, value in more.items() if value is not None}
            return Sent("POST", f"/v1/events/{key}/send", payload | given)
        case Call.SEND_BY_ID:
            return Sent("POST", f"{by_id}/send", payload)
        case Call.SEND_PREFIX:
            return Sent("POST", f"/v1/events/prefix/{prefix}/send", payload)
        case Call.CANCEL:
            return Sent("DELETE", f"/v1/events/{key}")
        case Call.CANCEL_BY_ID:
            return Sent("DELETE", by_id)
        case Call.EXTEND:
            return Sent("POST", f"{by_id}/extend", {"timeout_secs": asked.timeout_secs})
        case Call.GET:
            return Sent("GET", f"/v1/events/{key}")
        case Call.GET_BY_ID:
            tail = "" if asked.wait_secs is None else f"/wait?timeout_secs={asked.wait_secs}"
            return Sent("GET", by_id + tail)


def workflow(timeout_secs: int) -> dict[str, Any]:
    """One that waits under the key that it is started with."""
    wait = {"type": "wait_for_event", "event_key": "{{payload.key}}", "timeout_secs": timeout_secs}
    return {"slug": f"wait-{timeout_secs}", "steps": [{"step_ref": "wait", **wait}]}


def outcome(asked: Asked, key: str, status: int, text: bytes) -> Outcome | None:
    """What the reply says of this key; None if the server does not know what it did. Raises Strange."""
    if status == OUTCOME_UNKNOWN:
        return None
    body = json.loads(text)
    if status not in (200, 201, 202, 404, 409, 503):
        raise Strange(f"{asked}: {status} {text!r}")
    if status == 202:
        return Outcome(status, held=SeenHeld(body["id"], from_text(body["held_until"])))
    if status >= 400:
        found = NAMED.search(body["error"]) if status == 409 else None
        return Outcome(status, named=found[1] if found else None)
    if asked.call == Call.START:
        return Outcome(status)
    if asked.call == Call.SEND_PREFIX:
        if body["resolved"] != len(body["triggers"]):
            raise Strange(f"{asked}: resolved is not the number of triggers: {text!r}")
        return Outcome(
            status, settled=tuple(_seen(each) for each in body["triggers"] if each["event_key"] == key)
        )
    if body["event_key"] != key:
        raise Strange(f"{asked} of {key}: another key: {text!r}")
    return Outcome(status, trigger=_seen(body))


def _seen(trigger: Any) -> Seen:
    status, settled_at = trigger["status"], trigger.get("settled_at")
    if (status == WAITING) != (settled_at is None):
        raise Strange(f"settled_at does not go with the status: {trigger}")
    return Seen(
        id=trigger["id"],
        status=status,
        payload=json.dumps(trigger["response_payload"]) if "response_payload" in trigger else None,
        expires_at=from_text(trigger["expires_at"]),
        settled_at=None if settled_at is None else from_text(settled_at),
    )
