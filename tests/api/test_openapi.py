"""The OpenAPI document: whole, valid by its own schemas, and true of a server that runs."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from narrows.api.app import ROUTES
from narrows.api.openapi import build
from narrows.api.reference.examples import EXAMPLES, WAIT_ID, problem
from narrows.api.reference.words import ROUTE_NAMES, TAGS
from narrows.config import Config
from tests.api.harness import Client, opened

DOCUMENT = json.loads(json.dumps(build(ROUTES)))
OPERATIONS = [
    pytest.param(operation, id=operation["operationId"])
    for methods in DOCUMENT["paths"].values()
    for operation in methods.values()
]
#: The page's fields with their types, as it shows them.
PAGE_FIELDS = {
    "id": "string", "event_key": "string", "project_id": "string", "source_type": "string",
    "workflow_run_id": "string", "workflow_step_run_id": "string", "job_run_id": "string", "status": "string",
    "request_payload": None, "response_payload": None, "timeout_secs": "integer", "requested_at": "string",
    "received_at": "string", "expires_at": "string", "error": "string",
}  # fmt: skip


def _fits(schema: Any, value: Any) -> None:
    whole = schema | {"components": DOCUMENT["components"]}
    jsonschema_rs.validate(whole, value, validate_formats=True)


def test_every_route_is_in_it_and_named() -> None:
    shown = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert shown == {(route.method, route.pattern) for route in ROUTES} == set(ROUTE_NAMES)
    assert {tag for tag, _ in ROUTE_NAMES.values()} == set(TAGS)
    names = [verb for _, verb in ROUTE_NAMES.values()]
    assert len(names) == len(set(names))


def test_only_a_send_by_key_can_be_held() -> None:
    held = [
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        if "202" in operation["responses"]
    ]
    assert held == ["send"]


def test_every_route_with_a_body_has_an_example() -> None:
    assert set(EXAMPLES) == {(r.method, r.pattern) for r in ROUTES if r.request or r.reply}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_examples_fit_their_schemas(operation: dict[str, Any]) -> None:
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for content in body.get("content", {}).values():
            if "example" in content:
                _fits(content["schema"], content["example"])
    for parameter in operation.get("parameters", ()):
        if "example" in parameter:
            _fits(parameter["schema"], parameter["example"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_says_what_it_needs_and_refuses(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["x-required-scope"]
    refusals = {status for status in operation["responses"] if status >= "400"}
    assert {"400", "500"} <= refusals
    if operation["security"] == [{"runToken": []}]:
        assert {"401", "404", "409", "410", "503"} <= refusals
    elif operation["security"]:
        assert {"401", "403", "503"} <= refusals


def test_the_trigger_has_the_fields_of_the_page_to_the_letter() -> None:
    trigger = DOCUMENT["components"]["schemas"]["Trigger"]
    for field, kind in PAGE_FIELDS.items():
        assert trigger["properties"][field].get("type") == kind, field
    for field in ("requested_at", "received_at", "expires_at"):
        assert trigger["properties"][field]["format"] == "date-time"
    assert trigger["properties"]["status"]["enum"] == ["waiting", "received", "timed_out", "canceled"]
    assert trigger["properties"]["source_type"]["enum"] == ["workflow_step", "job_run"]
    assert "null" not in json.dumps(trigger)


def test_all_references_lead_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    for part in text.split('"$ref": "#/')[1:]:
        found = DOCUMENT
        for step in part.partition('"')[0].split("/"):
            found = found[step]


def test_problems_carry_the_codes_of_the_errors() -> None:
    from narrows.api.reference.examples import PROBLEMS
    from narrows.errors import BY_CODE, STATUS

    for status in PROBLEMS:
        assert STATUS[BY_CODE[problem(status)["code"]]] == status


def test_schemathesis_loads_it() -> None:
    schemathesis = pytest.importorskip("schemathesis")
    loaded = schemathesis.openapi.from_dict(DOCUMENT)
    loaded.validate()
    assert len(list(loaded.get_all_operations())) == len(ROUTES)


async def _examples(client: Client) -> dict[str, Any]:
    """Perform the examples that need nothing but themselves; the replies by route."""
    replies = {}
    for name in ("GET /livez", "GET /readyz", "GET /version", "GET /v1/events", "POST /v1/events",
                 "GET /v1/events/stats", "POST /v1/events/batch", "POST /v1/events/purge", "GET /v1/held-events",
                 "GET /v1/unmatched-events", "POST /v1/projects", "GET /v1/projects", "POST /v1/api-keys",
                 "GET /v1/api-keys", "GET /h/{token}"):  # fmt: skip
        method, path = name.split(" ")
        request = EXAMPLES[method, path][0]
        answer = await client(method, path.replace("{token}", "A" * 43), request)
        replies[name] = (answer.status, answer.json)
    return replies


async def test_a_server_answers_as_the_document_says(config: Config) -> None:
    async with opened(config) as client:
        for name, (status, reply) in (await _examples(client)).items():
            method, path = name.split(" ")
            described = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]
            _fits(described["content"]["application/json"]["schema"], reply)
            assert status < 300, (name, reply)
        absent = await client("GET", f"/v1/triggers/{WAIT_ID}")
        assert absent.status == 404
        _fits({"$ref": "#/components/schemas/Problem"}, absent.json)


async def test_the_route_answers_with_it(config: Config) -> None:
    async with opened(config) as client:
        answer = await client("GET", "/openapi.json")
        assert answer.status == 200
        assert answer.json["openapi"] == "3.1.0"
        assert set(answer.json["paths"]) == {route.pattern for route in ROUTES}
