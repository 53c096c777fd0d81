"""Writes the pages beside this file from the code: `python -m docs.reference.generate`. They are
made, so that they cannot tell anything else than the code does; a test holds that they are up to
date. Not here: `/docs` of a server (`narrows.api.reference`), which is made from the same document.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer.main

from docs.reference import steps
from narrows import config, errors
from narrows.api import openapi
from narrows.api.app import ROUTES
from narrows.api.metrics import METRICS
from narrows.cli.exits import MEANINGS
from narrows.cli.main import app
from narrows.core import diagrams, states

FOLDER: Final = Path(__file__).parent
NOTICE: Final = "<!-- Made from the code by `python -m docs.reference.generate`; do not edit. -->"


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(heads: tuple[str, ...], rows: list[tuple[object, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


# ---- the HTTP API --------------------------------------------------------------------------------


def _type(schema: dict[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("allOf", "anyOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[union])))
    kind = schema.get("type", "any JSON value")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{word}`" for word in schema["enum"])
    return f"{kind}, {schema['format']}" if "format" in schema else str(kind)


def http_api() -> Iterator[str]:
    document = openapi.build(ROUTES)
    yield "# HTTP API"
    yield NOTICE
    yield document["info"]["description"]
    yield "A server has this as a page at `/docs` and as OpenAPI 3.1 at `/openapi.json`."
    for tag in document["tags"]:
        yield f"## {tag['name']}"
        yield tag["description"]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(method.upper(), path, operation)
    yield "## Messages"
    for name, schema in document["components"]["schemas"].items():
        yield f"### {name}"
        if "description" in schema:
            yield schema["description"]
        yield "\n".join(_fields(schema))


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    yield from _table(
        ("Field", "Type", "Meaning"),
        [
            (f"`{name}`" + (" (required)" if name in required else ""), _type(field), field["description"])
            for name, field in schema["properties"].items()
        ],
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### `{method} {path}`"
    yield operation["description"]
    yield f"Scope: `{operation['x-required-scope']}`. In the document: `{operation['operationId']}`."
    if parameters := operation.get("parameters"):
        rows: list[tuple[object, ...]] = [
            (f"`{each['name']}`", each["in"], _type(each["schema"]), each["description"])
            for each in parameters
        ]
        yield "\n".join(_table(("Parameter", "In", "Type", "Meaning"), rows))
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        yield f"Body: {_type(content['schema'])}."
        yield f"```json\n{json.dumps(content['example'], ensure_ascii=False)}\n```"
    rows = [
        (
            status,
            reply["description"],
            ", ".join(_type(c["schema"]) for c in reply.get("content", {}).values()),
        )
        for status, reply in operation["responses"].items()
    ]
    yield "\n".join(_table(("Reply", "Meaning", "Body"), rows))


# ---- the rest ------------------------------------------------------------------------------------


def cli() -> Iterator[str]:
    yield "# Command line"
    yield NOTICE
    command = typer.main.get_command(app)
    yield from _command(command, "narrows")
    yield "## Exit codes"
    yield "They are stable: scripts may branch on them."
    yield "\n".join(_table(("Code", "Meaning"), [(int(code), meaning) for code, meaning in MEANINGS.items()]))


def _command(command: Any, path: str) -> Iterator[str]:
    yield f"## `{path}`"
    yield inspect.cleandoc(command.help or "").split("\f")[0]
    rows: list[tuple[object, ...]] = []
    for each in command.params:
        if getattr(each, "hidden", False) or each.name in ("install_completion", "show_completion"):
            continue
        spelled = ", ".join(each.opts) if each.param_type_name == "option" else each.name.upper()
        rows.append((f"`{spelled}`", getattr(each, "help", None) or ""))
    if rows:
        yield "\n".join(_table(("Option", "Meaning"), rows))
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _command(child, f"{path} {name}")


def configuration() -> Iterator[str]:
    yield "# Configuration"
    yield NOTICE
    yield (
        "A value comes from the first that has one: a flag, the environment variable, the TOML file "
        f"(`{config.FILE_NAME}`, or the one named by `NARROWS_CONFIG`), the default. `narrows doctor` prints what is "
        "in force and where it comes from."
    )
    rows: list[tuple[object, ...]] = [
        (
            f"`{option.name}`",
            f"`{option.variable}`",
            option.rule.allowed,
            "none" if option.default in (None, "", ()) else f"`{option.default}`",
            option.unit or "",
            option.help,
        )
        for option in config.OPTIONS
    ]
    yield "\n".join(_table(("Option", "Variable", "Must be", "Default", "Unit", "Meaning"), rows))


def statuses() -> Iterator[str]:
    yield "# States"
    yield NOTICE
    yield (
        "Each transition happens once. What is not in a diagram is refused, and what has ended never changes: only "
        "a step is opened again where somebody retries it while its workflow run goes on."
    )
    for noun, table, diagram in (
        ("trigger", states.TRANSITIONS, diagrams.trigger_diagram()),
        ("run", states.RUN_TRANSITIONS, diagrams.run_diagram()),
        ("workflow run", states.WORKFLOW_RUN_TRANSITIONS, diagrams.workflow_run_diagram()),
        ("step", states.STEP_TRANSITIONS, diagrams.step_diagram()),
    ):
        yield f"## States of a {noun}"
        yield f"```mermaid\n{diagram}```"
        yield "\n".join(_table(("Status", "What happens", "Status after"), _edges(table)))
    yield "## Facts"
    yield "Each change leaves a fact in the same commit. These kinds there are:"
    yield "\n".join(f"- `{kind}`" for kind in states.FactKind)


def _edges(table: Mapping[Any, Any]) -> list[tuple[object, ...]]:
    return [(f"`{before}`", f"`{kind}`", f"`{after}`") for (before, kind), after in table.items()]


def refusals() -> Iterator[str]:
    yield "# Errors"
    yield NOTICE
    yield (
        "Every error has one shape: `error` and `message` with the same sentence, `code`, `request_id`, and `details` "
        "where there are some. A refusal has changed nothing. The server raises these classes, and the client raises "
        "them again."
    )
    tree = (errors.__doc__ or "").split("\n\n")[1]
    yield f"```text\n{inspect.cleandoc(tree)}\n```"
    rows: list[tuple[object, ...]] = [
        (status, f"`{kind.code}`", f"`{kind.__name__}`", openapi.REFUSALS.get(status, ""))
        for kind, status in errors.STATUS.items()
    ]
    yield "\n".join(_table(("Status", "Code", "Class", "Meaning"), rows))


def metrics() -> Iterator[str]:
    yield "# Metrics"
    yield NOTICE
    yield "`GET /metrics`, in the text format of Prometheus; scope `metrics:read`, none in `narrows dev`."
    rows: list[tuple[object, ...]] = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
        for name, (kind, labels, text) in METRICS.items()
    ]
    yield "\n".join(_table(("Metric", "Kind", "Labels", "Meaning"), rows))


def step_fields() -> Iterator[str]:
    return steps.page(NOTICE, _table)


PAGES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "http-api.md": http_api,
    "cli.md": cli,
    "configuration.md": configuration,
    "states.md": statuses,
    "steps.md": step_fields,
    "errors.md": refusals,
    "metrics.md": metrics,
}


def text_of(name: str) -> str:
    """What the page should hold."""
    return "\n\n".join(part.strip() for part in PAGES[name]() if part.strip()) + "\n"


if __name__ == "__main__":
    for name in PAGES:
        (FOLDER / name).write_text(text_of(name), "utf-8")
