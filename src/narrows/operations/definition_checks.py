"""How the expressions within a definition are looked at: the libraries that `core` must not know."""

from __future__ import annotations

from narrows.core.workflow_fields import Checks
from narrows.errors import InvalidRequest
from narrows.operations.answers import compile_schema
from narrows.operations.conditions import Conditions
from narrows.operations.json_paths import JsonPaths


def definition_checks(conditions: Conditions, json_paths: JsonPaths) -> Checks:
    """Everything that a definition can be asked before it is saved. Reading it again later costs little,
    since what was compiled is kept."""
    return Checks(condition=conditions.check, json_path=json_paths.check, schema=_schema_fault)


def _schema_fault(schema: str) -> str | None:
    try:
        compile_schema(schema)
    except InvalidRequest as refusal:
        what = refusal.message.removeprefix("expected_schema ").removesuffix(".")
        return "; ".join([what, *refusal.details])
    return None
