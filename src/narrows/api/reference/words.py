"""What the reference says in words: the name and the tag of each route, and what fields and
parameters mean; of jobs and runs in `run_words.py`, of workflows in `workflow_words.py`. The routes themselves stand in `api/app.py`, the fields in `wire/messages.py`; a
test holds that each has its words here."""

from __future__ import annotations

from typing import Final

from narrows.api.reference.run_words import RUN_FIELDS, RUN_NOTES, RUN_PARAMETERS, RUN_ROUTES, RUN_TAGS
from narrows.api.reference.workflow_words import (
    WORKFLOW_FIELDS,
    WORKFLOW_NOTES,
    WORKFLOW_PARAMETERS,
    WORKFLOW_ROUTES,
    WORKFLOW_TAGS,
)

TAGS: Final[dict[str, str]] = {
    "Waits": "Open, read, cancel and settle waits by their event key. Every path of the event triggers API is here.",
    "Waits by id": "The same for exactly one wait: a late retry never touches the next wait under its key.",
    "Callback URLs": "A secret address that settles one wait, for providers that cannot send our header.",
    "Early and lost events": "Events that came before their wait, and events that settled nothing.",
    **RUN_TAGS,
    **WORKFLOW_TAGS,
    "Deliveries": "Outgoing webhooks to the `notify_url` of a wait, signed as Standard Webhooks has it.",
    "Access": "Projects, API keys, and tokens for streams in a browser.",
    "Server": "What the server says of itself.",
}

_ROUTES: Final = """
Waits | GET /v1/events | list
Waits | POST /v1/events | open
Waits | GET /v1/events/stats | stats
Waits | GET /v1/events/{eventKey} | get
Waits | DELETE /v1/events/{eventKey} | cancel
Waits | GET /v1/events/{eventKey}/stream | stream
Waits | POST /v1/events/{eventKey}/send | send
Waits | POST /v1/events/prefix/{prefix}/send | send_prefix
Waits | POST /v1/events/batch | send_batch
Waits | POST /v1/events/purge | purge
Waits | GET /v1/explain | explain
Waits by id | GET /v1/triggers/{id} | get_by_id
Waits by id | DELETE /v1/triggers/{id} | cancel_by_id
Waits by id | POST /v1/triggers/{id}/send | send_by_id
Waits by id | POST /v1/triggers/{id}/extend | extend
Waits by id | GET /v1/triggers/{id}/wait | wait_once
Waits by id | GET /v1/triggers/{id}/stream | stream_by_id
Callback URLs | POST /v1/triggers/{id}/callback-urls | create_callback_url
Callback URLs | GET /h/{token} | show_callback
Callback URLs | POST /h/{token} | send_to_callback
Early and lost events | GET /v1/held-events | held_events
Early and lost events | DELETE /v1/held-events/{id} | delete_held_event
Early and lost events | GET /v1/unmatched-events | unmatched_events
Deliveries | GET /v1/deliveries | list_deliveries
Deliveries | POST /v1/deliveries/{id}/retry | retry_delivery
Access | POST /v1/stream-tokens | create_stream_token
Access | POST /v1/projects | create_project
Access | GET /v1/projects | list_projects
Access | POST /v1/projects/{id}/rotate-secret | rotate_project_secret
Access | POST /v1/api-keys | create_api_key
Access | GET /v1/api-keys | list_api_keys
Access | DELETE /v1/api-keys/{id} | revoke_api_key
Access | POST /v1/api-keys/{id}/rotate | rotate_api_key
Server | GET /livez | live
Server | GET /readyz | ready
Server | GET /version | version
Server | GET /metrics | metrics
Server | GET /openapi.json | openapi
Server | GET /docs | reference
"""


def _read_routes() -> dict[tuple[str, str], tuple[str, str]]:
    named = {}
    for line in (_ROUTES.strip() + RUN_ROUTES + WORKFLOW_ROUTES.lstrip()).splitlines():
        tag, route, verb = line.split(" | ")
        method, pattern = route.split(" ")
        named[method, pattern] = (tag, verb)
    return named


#: (method, pattern) -> tag and operationId, in the order of the reference.
ROUTE_NAMES: Final = _read_routes()

#: What more there is to say of a route than its endpoint does.
NOTES: Final[dict[str, str]] = {
    "list": "A page ends at 8 MiB; a filter without an index looks at 50,000 rows at most and may give a short page with `has_more`.",
    "open": "201 with the trigger, which is `received` at once if an event was held for its key. 409 if the key is waiting already; with `if_waiting: join` 200 with the trigger that waits.",
    "cancel": 'The trigger\'s `error` becomes "canceled by user". 409 if it is settled already.',
    "stream": "The first frame comes at once, then one for every change, each the whole trigger as one line of JSON (`event: status`). After a settled status the stream ends. With `Last-Event-ID` only newer frames come; if it names the settled version the answer is 204.",
    "send": "200 with the trigger. Sending an equal payload again is 200 without an effect; anything else that is settled is 409. With `hold_secs` and nothing waiting the event is held: 202.",
    "send_by_id": "200 with the trigger. `hold_secs` and `event_id` belong to a send by key and are refused here.",
    "send_prefix": "Every waiting event trigger whose key starts with the prefix, byte for byte, oldest first. It goes on to its end when the client has gone.",
    "send_batch": "One commit, each event independent of the others; results stand in the order of the events, each with its own status. Beyond 8 MiB of triggers the remaining ones come without payloads and schemas (`payloads_left_out`).",
    "purge": "Settled triggers of this project, by the time they were settled.",
    "send_to_callback": "By the rules of send. An `Idempotency-Key` is not looked at: the address names one wait, so that a repeat with an equal body is 200 and changes nothing, for as long as the wait is kept.",
    "wait_once": "Answers as soon as the trigger is settled, else after the given seconds with the trigger still `waiting`.",
    "retry_delivery": "Also one that has failed for good; the attempts go on counting. 409 if it has been delivered.",
    "rotate_project_secret": "For `overlap_secs` deliveries are signed with both secrets, so that their receiver can change over in peace; 0 ends the old one at once.",
    "create_stream_token": "Opens within 60 s and may open the same stream again for an hour.",
    "create_api_key": "A key can give only scopes that it has. Without a `project_id`, an admin makes an admin key. What `workflows:write` allows to define runs any job, sends any event and calls public addresses, without the scopes of those.",
    "rotate_api_key": "The old key works on for `overlap_secs`.",
    **RUN_NOTES,
    **WORKFLOW_NOTES,
}

#: Query and header parameters.
PARAMETERS: Final[dict[str, str]] = {
    "eventKey": "The event key: 1 to 512 bytes of UTF-8 without control characters. Percent-encode it; slashes may stand.",
    "prefix": "What the keys start with: 1 to 512 bytes of UTF-8, byte for byte; `%` and `_` are themselves.",
    "id": "The id.",
    "token": "The secret of a callback URL or of a stream.",
    "project_id": "The project. An API key has its own; an admin names one.",
    "status": "Only triggers in this status.",
    "/v1/deliveries status": "Only deliveries in this status.",
    "trigger_id": "Only this trigger's.",
    "source_type": "Filter triggers by source type.",
    "workflow_run_id": "Filter triggers by workflow run ID.",
    "job_run_id": "Filter triggers by job run ID.",
    "event_key": "Only this event key.",
    "key_prefix": "Only event keys that start with this.",
    "tag": "Only triggers with this tag: `name:value`, or `name` with any value.",
    "limit": "How many rows; over 100 is 100.",
    "cursor": "The `next_cursor` of the page before. Lists of triggers and events take a time as well: then what is strictly before it.",
    "timeout_secs": "How long to wait, in seconds; over 60 is 60.",
    "Idempotency-Key": "Repeats with the same key within 24 h are done once and get the first answer. `X-Idempotency-Key` is the same.",
    "X-Project-Id": "The project, where it is not in the query or the body; all that are given must agree.",
    "Last-Event-ID": "The id of the last frame that you had; only newer ones come.",
    **RUN_PARAMETERS,
    **WORKFLOW_PARAMETERS,
}

#: Fields of messages; `Message.field` where the bare name would not tell enough.
FIELDS: Final[dict[str, str]] = {
    "id": "The id, a UUIDv7: ids sort by time.",
    "event_key": "The key that whoever sends the event knows: 1 to 512 bytes of UTF-8.",
    "project_id": "The project.",
    "source_type": "What waits. A wait that a client opened is `job_run` without `job_run_id`.",
    "workflow_run_id": "The workflow run that waits.",
    "workflow_step_run_id": "The workflow step that waits.",
    "job_run_id": "The job run that waits.",
    "status": "The status; all but `waiting` are for ever.",
    "BatchItemResult.status": "The HTTP status of this item alone.",
    "notify_url": "An http or https address that is called when the wait is opened and when it is settled.",
    "notify_status": "How the newest call of `notify_url` stands.",
    "type": "What has happened: the wait was opened, or settled.",
    "url": "Where it goes.",
    "Delivery.status": "`pending` while it is tried, then `delivered`, or `failed` after 8 attempts or a 410.",
    "Delivery.error": "How its newest attempt failed.",
    "Delivery.created_at": "When it happened.",
    "attempts": "How often it was tried.",
    "last_status": "The HTTP status that the newest attempt was answered.",
    "next_attempt_at": "When it is tried next; while it is being tried, when that is given up as lost.",
    "finished_at": "When it was delivered, or given up.",
    "signing_secret": "What the receiver checks signatures with; given once.",
    "old_until": "Until when the old secret signs too.",
    "RotateSecretRequest.overlap_secs": "How long the old secret signs too.",
    "Health.status": "`ok`, or `unavailable` with the reasons.",
    "request_payload": "What the one who waits attached, for whoever answers. Any JSON value.",
    "response_payload": "What was sent. Any JSON value.",
    "payload": "The event's payload. Any JSON value; left out is not the same as null.",
    "timeout_secs": "After so many seconds the wait times out; 0 is never.",
    "ExtendRequest.timeout_secs": "Counted from now; 0 takes the time-out away.",
    "requested_at": "When the wait was opened.",
    "received_at": "When the event came.",
    "expires_at": "When it ends; 9999-12-31T23:59:59Z is never.",
    "CreateApiKeyRequest.expires_at": "When the key ends: a time to come. Left out, it lasts until it is revoked.",
    "ApiKey.expires_at": "When the key ends.",
    "StreamToken.expires_at": "When the token ends.",
    "settled_at": "When the wait was received, timed out or canceled.",
    "error": "Why it ended without an event.",
    "Problem.error": "What was wrong and what to do, in one sentence.",
    "BatchItemResult.error": "Why this item was refused.",
    "trigger_type": "Only an `event` can be sent an event.",
    "waiter": "`client` where a client opened the wait.",
    "name": "A name for people.",
    "tags": "Up to 50 names and values, to filter lists by.",
    "expected_schema": "A JSON Schema (at most 64 KiB) that the payload must fit; one that does not is refused and the wait stays open.",
    "sent_by": "Who sent the event, for instance `key:<key id>`.",
    "callback_url": "The secret address that settles this wait; only in the reply that made it.",
    "OpenTriggerRequest.callback_url": "Whether to make a callback URL at once.",
    "if_waiting": "What to do if the key is waiting already: `refuse` (409), or `join` that wait (200).",
    "data": "The rows, newest first.",
    "has_more": "Whether there is another page.",
    "next_cursor": "The `cursor` of the next page; only where there is one.",
    "total_count": "All triggers.",
    "waiting_count": "Those that wait.",
    "received_count": "Those that got their event.",
    "timed_out_count": "Those whose time ran out.",
    "canceled_count": "Those that were canceled.",
    "avg_wait_duration_secs": "The mean wait of those received, 0 if there are none.",
    "resolved": "How many triggers got the event.",
    "triggers": "The first 1,000 of them, or 8 MiB.",
    "refused": "How many were skipped because the payload does not fit their schema.",
    "triggers_truncated": "True where not all are listed.",
    "dry_run": "Change nothing and only count.",
    "deleted": "How many were deleted.",
    "would_delete": "How many a purge would delete; counted in a dry run.",
    "older_than_days": "Only what was settled longer ago than this.",
    "held": "Whether the event is held.",
    "held_until": "When it is discarded if no wait was opened.",
    "held_at": "When it came.",
    "hold_secs": "Keep the event so many seconds for a wait that is yet to be opened.",
    "event_id": "Your id of the event: the same one twice under a key is held once.",
    "reason": "Why it settled nothing: no wait, settled already, schema, or a type that takes no events.",
    "arrived_at": "When it arrived.",
    "trigger_id": "The trigger.",
    "late_secs": "How long after the trigger was settled.",
    "detail": "What its schema refused.",
    "dropped": "How many were not kept, since too many came at once.",
    "trigger": "The trigger.",
    "BatchItemResult.held": "The event that is held now.",
    "code": "The kind of refusal, for programs.",
    "details": "More sentences, where there are some.",
    "results": "One for each event, in order.",
    "payloads_left_out": "True where the triggers went over 8 MiB: those after that stand without payloads and schemas; get them by id.",
    "BatchRequest.events": "Up to 1,000 events.",
    "message": "The sentence, for people.",
    "Problem.message": "The same sentence as `error`.",
    "request_id": "The id of the request, as in the header X-Request-Id and the server's log.",
    "token": "The secret; it is shown once.",
    "stream_url": "Where a browser opens its `EventSource`.",
    "lines": "What happened, a sentence each, most telling first.",
    "near_keys": "Keys that look like this one.",
    "unmatched": "Events that arrived under this key and settled nothing.",
    "held_count": "How many events are held for this key.",
    "created_at": "When it was made.",
    "scopes": "What the key may do.",
    "key": "The secret key itself, given once.",
    "revoked_at": "When it was revoked.",
    "replaced_by": "The id of the key that took its place.",
    "overlap_secs": "How long the old key goes on working.",
    "reasons": "Why not, a sentence each.",
    "version": "The server's version.",
    "api_version": "The version of the HTTP contract.",
    "schema_version": "The number of the newest migration.",
    "sqlite_version": "The version of SQLite.",
    **RUN_FIELDS,
    **WORKFLOW_FIELDS,
}
