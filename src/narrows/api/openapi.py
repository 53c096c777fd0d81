"""This API as an OpenAPI 3.1 document, generated from the route table and the messages, so that it
cannot tell anything else than they do. The words stand in `reference/words.py`, the examples in
`reference/examples.py`. What it says is held against a live server by the tests."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args

import msgspec

from narrows import __version__
from narrows.api.openapi_schemas import EVENT_KEY, PROJECT_ID, Schema, reference, schemas
from narrows.api.reference import examples, run_examples, workflow_examples
from narrows.api.reference.words import NOTES, PARAMETERS, ROUTE_NAMES, TAGS
from narrows.api.routing import PUBLIC, RUN, SPANNING, Route
from narrows.wire import messages, run_messages, workflow_messages

#: What a refusal of each status means.
REFUSALS: Final[dict[int, str]] = {
    400: "The request is not valid; the sentence says what is wrong.",
    401: "No API key or run token, a wrong one, or one in the URL.",
    403: "The API key lacks the scope.",
    404: "Not there, or of another project.",
    409: "The state does not allow it.",
    410: "The run has ended; stop working on it.",
    413: "The body is too large.",
    415: "The body is compressed.",
    422: "The payload does not fit the schema of the wait, which stays open.",
    429: "A limit is reached; try again after Retry-After.",
    500: "Something failed inside the server.",
    503: "Not done: the server cannot take it now; try again after Retry-After.",
    504: "The commit may or may not have happened; ask before you repeat.",
}
SUCCESSES: Final[dict[int, str]] = {
    200: "Done.",
    201: "Made.",
    202: "Nothing waited: the event is held.",
    204: "Nothing newer will come: the wait is settled and you have its last frame.",
}
#: The server reads whole numbers of at most 12 digits in a query.
_LARGEST: Final = 999_999_999_999
_ABSENT: Final[Schema] = {"type": "null"}
#: An empty filter counts as left out.
_FILTER_KEY: Final[Schema] = EVENT_KEY | {"minLength": 0, "pattern": r"^[^\x00-\x1f\x7f]*$"}
_QUERY: Final[dict[str, Schema]] = {
    "project_id": PROJECT_ID,
    "status": {"type": "string", "enum": list(get_args(messages.TriggerStatus))},
    "source_type": {"type": "string", "enum": list(get_args(messages.SourceType))},
    "event_key": _FILTER_KEY,
    "key_prefix": _FILTER_KEY,
    "limit": {"type": "integer", "minimum": 1, "maximum": _LARGEST, "default": 50},
    "cursor": {
        "anyOf": [
            {"type": "string", "format": "date-time"},
            {"type": "string", "format": "uuid"},
            {"type": "string", "maxLength": 0},
        ]
    },
    "timeout_secs": {"type": "integer", "minimum": 0, "maximum": _LARGEST, "default": 30},
    "cancel_runs": {"type": "string", "enum": ["true", "false"], "default": "false"},
}
#: Where the same name means something else than it does in the lists of triggers.
_QUERY_OF: Final[dict[tuple[str, str], Schema]] = {
    ("/v1/deliveries", "status"): {"type": "string", "enum": list(get_args(run_messages.DeliveryStatus))},
    ("/v1/runs", "status"): {"type": "string", "enum": list(get_args(run_messages.RunStatus))},
    ("/v1/workflow-runs", "status"): {
        "type": "string",
        "enum": list(get_args(workflow_messages.WorkflowRunStatus)),
    },
}
_PROJECT_HEADER: Final = "X-Project-Id"
_KEY_PATTERN: Final = "^[!-~]([ -~]{0,253}[!-~])?$"
#: What may meet a limit of the project, or of the run.
_LIMITED: Final = frozenset(
    [
        "open",
        "send",
        "send_by_id",
        "stream",
        "stream_by_id",
        "wait_once",
        "create_api_key",
        "wait_for_run",
        "claim_runs",
        "save_checkpoint",
        "log",
        "progress",
        "sleep",
        "wait_for_event",
    ]
)
_INTRODUCTION: Final = (
    "Durable waits: something opens a wait under a key, something else sends the event, and the waiter goes on "
    "exactly once. Every reply is JSON but for streams, the metrics and this page; every error has one shape, "
    "`Problem`. Times are RFC 3339 in UTC. Fields that are empty are left out of a reply; unknown fields of a "
    "request are ignored. `narrows dev` needs no API key."
)


def document(routes: Iterable[Route]) -> bytes:
    """The whole document as JSON, in a stable order."""
    return msgspec.json.encode(build(routes))


def build(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document as plain values."""
    shown = {(route.method, route.pattern): route for route in routes}
    paths: dict[str, dict[str, Any]] = {}
    for name in ROUTE_NAMES:
        if name in shown:
            paths.setdefault(name[1], {})[name[0].lower()] = _operation(shown[name])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Narrows",
            "version": __version__,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas(_messages(shown.values())),
            "headers": _headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "runToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The run token of a dispatch: `X-Run-Token` of its request, or `run_token` of a claim.",
                },
                "streamToken": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "A stream token, for browsers; see `create_stream_token`.",
                },
            },
        },
    }


def _messages(routes: Iterable[Route]) -> list[type]:
    kinds = {kind for route in routes for kind in (route.request, route.reply) if kind is not None}
    return sorted({*kinds, messages.Problem, messages.Held}, key=lambda kind: kind.__name__)


def _headers() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "RequestId": {"description": "The id of the request, as in the log.", "schema": text},
        "Replayed": {"description": "`true` on the repeat of an Idempotency-Key.", "schema": text},
        "RetryAfter": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}},
    }


def _operation(route: Route) -> dict[str, Any]:
    tag, verb = ROUTE_NAMES[route.method, route.pattern]
    operation: dict[str, Any] = {
        "operationId": verb,
        "tags": [tag],
        "summary": route.summary,
        "description": _description(route, verb),
        "x-required-scope": route.scope,
        "security": _security(route),
    }
    if parameters := list(_parameters(route, verb)):
        operation["parameters"] = parameters
    if route.method in ("POST", "PATCH"):
        operation["requestBody"] = _request(route)
    operation["responses"] = {str(status): reply for status, reply in sorted(_responses(route, verb).items())}
    return operation


def _description(route: Route, verb: str) -> str:
    """What the endpoint says of itself, and what more there is to say."""
    lines = inspect.cleandoc(route.endpoint.__doc__ or "").partition("\n")[2].split("\n\n")
    parts = [f"{route.summary}.", *(" ".join(part.split()) for part in lines), NOTES.get(verb, "")]
    if route.admin_only:
        parts.append("Only the host and admin keys may.")
    return "\n\n".join(part for part in parts if part)


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.scope == PUBLIC:
        return []
    if route.scope == RUN:
        return [{"runToken": []}]
    return [{"bearer": []}, {"streamToken": []}] if route.stream else [{"bearer": []}]


# ---- parameters ----------------------------------------------------------------------------------


def _parameters(route: Route, verb: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", route.pattern):
        yield _parameter("path", name, _path_schema(route, name), _path_example(route, name))
    for name in route.query:
        if name != "token":  # the security scheme of streams says it
            required = verb == "explain" and name == "event_key"
            schema = EVENT_KEY if required else _query_schema(route, name)
            parameter = _parameter("query", name, schema, _EXAMPLES.get(name), required=required)
            text = PARAMETERS.get(f"{route.pattern} {name}")
            yield parameter if text is None else parameter | {"description": text}
    if _has_project(route):
        yield _parameter("header", _PROJECT_HEADER, PROJECT_ID, "default")
    if route.idempotent:
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _KEY_PATTERN}
        yield _parameter("header", "Idempotency-Key", schema, "order-1042-approved")
    if route.stream:
        yield _parameter("header", "Last-Event-ID", {"type": "string"}, f"{examples.WAIT_ID}.1")


def _query_schema(route: Route, name: str) -> Schema:
    """Projects and API keys are listed by ids of their own, so that no time is a cursor there."""
    if name == "cursor" and route.pattern == "/v1/projects":
        return PROJECT_ID
    if name == "cursor" and route.pattern == "/v1/api-keys":
        return {"type": "string", "pattern": "^([0-9a-v]{16})?$"}
    return _QUERY_OF.get((route.pattern, name)) or _QUERY.get(name, {"type": "string"})


_EXAMPLES: Final = {
    "project_id": "default",
    "event_key": examples.EVENT_KEY,
    "key_prefix": "approval:",
    "tag": "team:checkout",
    "limit": 50,
}


def _parameter(
    place: str, name: str, schema: Schema, example: Any, *, required: bool = False
) -> dict[str, Any]:
    parameter = {
        "name": name,
        "in": place,
        "required": required or place == "path",
        "description": PARAMETERS[name],
        "schema": schema,
    }
    return parameter if example is None else parameter | {"example": example}


def _path_schema(route: Route, name: str) -> Schema:
    if name in SPANNING:
        return EVENT_KEY
    if name in ("token", "job", "workflow", "step_ref"):
        return {"type": "string", "minLength": 1}
    if route.pattern.startswith("/v1/api-keys"):
        return {"type": "string", "pattern": "^[0-9a-v]{16}$"}
    if route.pattern.startswith("/v1/projects"):
        return PROJECT_ID
    return {"type": "string", "format": "uuid"}


def _path_example(route: Route, name: str) -> str:
    if route.pattern.startswith("/v1/api-keys"):
        return examples.KEY_ID
    if route.pattern.startswith("/v1/projects"):
        return examples.PROJECT
    if route.pattern.startswith("/v1/runs"):
        return run_examples.RUN_ID
    if route.pattern.startswith("/v1/workflow-runs") and name == "id":
        return workflow_examples.WORKFLOW_RUN_ID
    held = route.pattern.startswith("/v1/held")
    return {
        "eventKey": examples.EVENT_KEY,
        "prefix": "batch-42:",
        "token": examples.TOKEN,
        "job": run_examples.JOB,
        "runID": run_examples.RUN_ID,
        "workflow": workflow_examples.WORKFLOW,
        "step_ref": workflow_examples.STEP_REF,
    }.get(name, examples.HELD_ID if held else examples.WAIT_ID)


def _has_project(route: Route) -> bool:
    """Whether the route is about a project, so that an admin names one."""
    return route.scope not in (PUBLIC, RUN, "metrics:read") and not route.admin_only


# ---- bodies --------------------------------------------------------------------------------------


def _request(route: Route) -> dict[str, Any]:
    example = examples.EXAMPLES[route.method, route.pattern][0]
    if route.request is None:
        schema: Schema = {"description": "Any JSON value: it is the payload."}
        required = False
    else:
        schema = reference(route.request)
        if route.request is messages.SendRequest and route.pattern.startswith("/v1/triggers"):
            # A trigger is there already: an event by id is never held.
            schema = {"allOf": [schema], "properties": dict.fromkeys(("hold_secs", "event_id"), _ABSENT)}
        required = any(field.required for field in msgspec.structs.fields(route.request))
        required = required or route.request is messages.StreamTokenRequest
    return {
        "required": required,
        "description": f"JSON, at most {route.body_limit_bytes >> 20} MiB; Content-Type is not checked.",
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _responses(route: Route, verb: str) -> dict[int, dict[str, Any]]:
    responses = {status: _success(route, status) for status in route.statuses if status < 300}
    for status in _refusals(route, verb):
        responses[status] = _refusal(status)
    if verb == "ready":
        unwell = {"status": "unavailable", "reasons": ["The server is stopping."]}
        content = {"schema": reference(messages.Health), "example": unwell}
        responses[503] = _reply("The server cannot serve now.", {"application/json": content})
    return responses


def _success(route: Route, status: int) -> dict[str, Any]:
    if status == 204:
        return _reply(SUCCESSES[status], {})
    reply = _reply(SUCCESSES[status], {route.media_type: _content(route, status)})
    if route.idempotent:
        reply["headers"]["Idempotency-Replayed"] = {"$ref": "#/components/headers/Replayed"}
    return reply


def _content(route: Route, status: int) -> dict[str, Any]:
    _, example = examples.EXAMPLES.get((route.method, route.pattern), (None, None))
    if route.stream:
        data = msgspec.json.encode(example).decode()
        frame = f"event: status\nid: {examples.WAIT_ID}.2\ndata: {data}\n\n"
        return {"schema": {"type": "string"}, "example": frame}
    if status == 202:
        held = examples.EXAMPLES["POST", "/v1/events/batch"][1]["results"][1]["held"]
        return {"schema": reference(messages.Held), "example": held}
    if route.reply is not None:
        return {"schema": reference(route.reply), "example": example}
    if route.scope == RUN:
        return {"schema": {"description": "Any JSON value: what the run was started with."}}
    return {"schema": {"type": "object" if route.media_type == "application/json" else "string"}}


def _refusals(route: Route, verb: str) -> list[int]:
    # 400 and 401 come from the query of any route: what is no UTF-8, and an API key in it.
    statuses = {400, 401, 500, *(status for status in route.statuses if status >= 400)}
    if route.scope == RUN:
        statuses |= {404, 503}
    elif route.scope != PUBLIC:
        statuses |= {403, 503}
    if _has_project(route) or (route.scope == PUBLIC and "{" in route.pattern and route.method == "POST"):
        statuses.add(404)
    if route.method in ("POST", "PATCH", "DELETE"):
        statuses |= {413, 503, 504}
    if route.method in ("POST", "PATCH"):
        statuses.add(415)
    if verb in _LIMITED:
        statuses.add(429)
    return sorted(statuses)


def _refusal(status: int) -> dict[str, Any]:
    content = {"schema": reference(messages.Problem), "example": examples.problem(status)}
    reply = _reply(REFUSALS[status], {"application/json": content})
    if status in (429, 503):
        reply["headers"]["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return reply


def _reply(description: str, content: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    reply: dict[str, Any] = {"description": description, "headers": headers}
    return reply | {"content": content} if content else reply
