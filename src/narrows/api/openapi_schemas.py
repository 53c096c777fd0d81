"""The messages of the contract as JSON Schemas for the OpenAPI document, with the limits that the
server really holds, which msgspec alone does not know. Not here: the paths (`openapi.py`)."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from narrows.api.auth import SCOPES
from narrows.api.checks import MAX_TAG_LENGTH, MAX_TAGS
from narrows.api.reference.words import FIELDS
from narrows.core.keys import MAX_KEY_BYTES
from narrows.wire import messages, run_messages, workflow_messages

Schema = dict[str, Any]
_HOMES: Final = (messages, run_messages, workflow_messages)
REF: Final = "#/components/schemas/{name}"

#: A schema counts characters; the server counts bytes of UTF-8, as the description says.
EVENT_KEY: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_KEY_BYTES,
    "pattern": r"^[^\x00-\x1f\x7f]+$",
}
#: Empty counts as left out.
PROJECT_ID: Final[Schema] = {"type": "string", "pattern": "^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"}
_PLAIN: Final[Schema] = {"pattern": r"^[^\x00-\x1f\x7f]*$"}
_TAG: Final[Schema] = {"type": "string", "maxLength": MAX_TAG_LENGTH, **_PLAIN}
_TAGS: Final[Schema] = {
    "maxProperties": MAX_TAGS,
    "propertyNames": {"minLength": 1, "maxLength": MAX_TAG_LENGTH, **_PLAIN},
    "additionalProperties": _TAG,
}
_ONE_OF_TWO: Final = [
    {
        "required": [named],
        "properties": {named: {"type": "string"}, other: {"type": "null"}},
    }
    for named, other in (("event_key", "trigger_id"), ("trigger_id", "event_key"))
]
#: What a request's field must keep to beyond its type.
_LIMITS: Final[dict[str, Schema]] = {
    "event_key": EVENT_KEY,
    "project_id": PROJECT_ID,
    "name": _PLAIN,
    "event_id": _PLAIN,
    "tags": _TAGS,
    "expected_schema": {"type": ["object", "boolean"]},
    "CreateProjectRequest.id": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    "CreateApiKeyRequest.scopes": {"items": {"type": "string", "enum": list(SCOPES)}},
}
#: A change may name each field with which something is made; it is decoded loosely, for better sentences.
_MADE_BY_CHANGES: Final = {
    "UpdateJobRequest": "CreateJobRequest",
    "UpdateWorkflowRequest": "CreateWorkflowRequest",
}


def schemas(kinds: Iterable[type]) -> dict[str, Schema]:
    """The component schemas of these messages and of all that they name."""
    _, components = msgspec.json.schema_components(kinds, ref_template=REF)
    completed = {name: _completed(name, schema) for name, schema in sorted(components.items())}
    for changes in completed.keys() & _MADE_BY_CHANGES.keys():
        made = completed[_MADE_BY_CHANGES[changes]]["properties"]
        completed[changes]["properties"] = {
            field: {word: said for word, said in made[field].items() if word != "default"}
            for field in completed[changes]["properties"]
        }
    return completed


def reference(kind: type) -> Schema:
    return {"$ref": REF.format(name=kind.__name__)}


def _completed(name: str, schema: Schema) -> Schema:
    (kind,) = {getattr(home, name) for home in _HOMES if hasattr(home, name)}
    declared = typing.get_type_hints(kind)
    hints = {field.encode_name: declared[field.name] for field in msgspec.structs.fields(kind)}
    is_request = name.endswith("Request") or name in ("BatchItem", "EventToWaitFor", "StepDefinition")
    schema["properties"] = {
        field: _field(name, field, given, hints[field], is_request)
        for field, given in schema["properties"].items()
    }
    if name == "StreamTokenRequest":
        schema["oneOf"] = _ONE_OF_TWO
    return schema


def _field(name: str, field: str, given: Schema, hint: Any, is_request: bool) -> Schema:
    words = _literals(hint)
    nullable = "anyOf" in given and {"type": "null"} in given["anyOf"]
    schema = given["anyOf"][0] if nullable else given
    if _mentions(hint, datetime):
        schema = schema | {"format": "date-time"}
    if words and "enum" in schema:
        schema = schema | {"type": "string", "enum": list(words)}
    if is_request:
        schema = schema | _LIMITS.get(f"{name}.{field}", _LIMITS.get(field, {}))
    if nullable and is_request:
        schema = {"anyOf": [schema, {"type": "null"}]}
    elif "default" in given and not nullable:
        schema = schema | {"default": given["default"]}
    text = FIELDS.get(f"{name}.{field}") or FIELDS[field]
    return (
        schema | {"description": text} if "$ref" not in schema else {"allOf": [schema], "description": text}
    )


def _mentions(hint: Any, kind: type) -> bool:
    return hint is kind or any(_mentions(part, kind) for part in typing.get_args(hint))


def _literals(hint: Any) -> tuple[str, ...]:
    """The words of a field in the order in which the contract has them; msgspec sorts them."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    for part in typing.get_args(hint):
        if words := _literals(part):
            return words
    return ()
