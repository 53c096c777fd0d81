"""Answers to what is too slow or too easily abused for the writer: JSON Schemas and the comparison of
large payloads. Runs on threads beside it. Nothing is ever fetched: a `$ref` must be local."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import jsonschema_rs

from narrows.core.payloads import equal
from narrows.errors import InvalidRequest

MAX_SCHEMA_BYTES = 64 << 10
MAX_FAULTS = 20
_CACHE_SIZE = 256


class Schemas:
    """Compiled schemas by their text; the most recently used are kept. Used from several threads:
    a lost race compiles twice, no more."""

    def __init__(self) -> None:
        self._compiled = lru_cache(maxsize=_CACHE_SIZE)(compile_schema)

    def faults(self, schema: str, payload: str | None) -> tuple[str, ...]:
        """One sentence per fault of the payload, empty if it fits. An absent payload fits only a
        schema that takes null."""
        validator = self._compiled(schema)
        found = []
        for error in validator.iter_errors(json.loads(payload if payload is not None else "null")):
            path = "/".join(str(part) for part in error.instance_path)
            found.append(f"at /{path}: {error.message}")
            if len(found) == MAX_FAULTS:
                break
        return tuple(found)


def compile_schema(text: str) -> Any:
    """A validator for a JSON Schema (its `$schema`, else draft 2020-12).

    Raises InvalidRequest for a schema that is too large, wrong, refers to anything that is not
    within itself, or holds a regular expression that could backtrack.
    """
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise InvalidRequest(f"expected_schema is over {MAX_SCHEMA_BYTES >> 10} KiB. Make it smaller.")
    schema = json.loads(text)
    if not isinstance(schema, dict | bool):
        raise InvalidRequest("expected_schema must be a JSON Schema: an object or a boolean.")
    _refuse_foreign_references(schema)
    try:
        return jsonschema_rs.validator_for(
            schema,
            retriever=_refuse_to_fetch,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=8 << 20),
            # A fault names where and why, never the value: it is told to others than the sender, too.
            mask="the value",
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = getattr(error, "message", None) or str(error)
        raise InvalidRequest(f"expected_schema cannot be used: {message}") from None


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"{uri} is not within the schema, and nothing is fetched")


def _refuse_foreign_references(node: Any) -> None:
    """A reference that is not local is refused when the wait is opened, not when the event comes."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for word in ("$ref", "$dynamicRef", "$recursiveRef"):
                target = node.get(word)
                if isinstance(target, str) and not target.startswith("#"):
                    raise InvalidRequest(
                        f"expected_schema refers to {target!r}. Only references within the schema "
                        "('#...') are allowed; nothing is fetched."
                    )
            stack += node.values()
        elif isinstance(node, list):
            stack += node


def payloads_equal(one: str | None, other: str | None) -> bool:
    """Equality as JSON values, for payloads of any size."""
    return equal(one, other)
