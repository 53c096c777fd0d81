"""Reading definitions in tests. A condition is a list of the steps it names, and `?` is a wrong one."""

from __future__ import annotations

from typing import Any

from narrows.core.templates import Template
from narrows.core.workflow_definitions import Definition, Parsed, parse
from narrows.core.workflow_fields import Checked, Checks

CHECKS = Checks(
    condition=lambda text: (
        Checked("holds nonsense", frozenset()) if text == "?" else Checked(None, frozenset(text.split()))
    ),
    json_path=lambda text: None if text.startswith("$") else "is no JSONPath",
    schema=lambda text: "is no schema" if text == "1" else None,
)


def job(ref: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {"step_ref": ref, "job_slug": "j", "depends_on": list(depends_on), **fields}


def read(*steps: Any, **fields: Any) -> Parsed:
    return parse({"slug": "w", "steps": list(steps), **fields}, CHECKS)


def good(*steps: Any, **fields: Any) -> Definition:
    parsed = read(*steps, **fields)
    assert parsed.faults == ()
    assert parsed.definition is not None
    return parsed.definition


def faults_of(*steps: Any, **fields: Any) -> tuple[str, ...]:
    parsed = read(*steps, **fields)
    assert parsed.definition is None
    return parsed.faults


def source(template: Template | None) -> str:
    assert template is not None
    return "".join(each if isinstance(each, str) else each.source for each in template.pieces)
