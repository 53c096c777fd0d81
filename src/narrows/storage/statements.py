"""The named SQL statements. SQL stands once, in `sql/*.sql`; this module finds it and spells it for
a backend. It knows no table.

A statement begins with `-- name: <name>`. `@input(column type, ...)` stands for the rows that the
caller gives, one statement for a whole batch: SQLite reads them by `jsonb_each`, PostgreSQL by
`jsonb_array_elements`. Reads use `:name` parameters. Where the dialects differ in a word, a macro stands for it
(`@each`, `@room`, `@queue`); where they differ in more, `sql/<backend>/` has a statement of the same
name, which goes before the common one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any, NamedTuple

import msgspec

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_INPUT = re.compile(r"@input\(([^)]*)\)(\s+as\s+(\w+))?")
_EACH = re.compile(r"@each\(([^)]*)\)")
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")
_COMMENT = re.compile(r"--[^\n]*")
_encode = msgspec.json.Encoder().encode


@cache
def all_statements() -> dict[str, str]:
    """Every common statement by name, as written. Raises ValueError where a name stands twice."""
    return _found_in("sql")


@cache
def of_backend(backend: str) -> dict[str, str]:
    """What stands for this backend alone: its own statements, and its spelling of common ones."""
    return _found_in("sql", backend)


def _found_in(*folder: str) -> dict[str, str]:
    statements: dict[str, str] = {}
    place = files("narrows.storage").joinpath(*folder)
    for file in sorted(place.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        _, *parts = _NAME.split(file.read_text(encoding="utf-8"))
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            if name in statements:
                raise ValueError(f"the statement {name} stands twice")
            statements[name] = body.strip()
    return statements


# ---- SQLite ----------------------------------------------------------------------------------------


@cache
def for_sqlite() -> dict[str, str]:
    """Every statement in SQLite's dialect; `@input` reads the JSON array of arrays in `:input`."""
    return {name: _for_sqlite(body) for name, body in all_statements().items()}


def _for_sqlite(body: str) -> str:
    body = _INPUT.sub(_json_each, body)
    body = _EACH.sub(r"json_each(\1)", body)
    return body.replace("@room", ", room = null").replace("@queue", "indexed by runs_queue")


def _json_each(match: re.Match[str]) -> str:
    """By `jsonb_each`, whose rows are parsed already: of a text each column would look through its row anew."""
    columns = [column.split()[0] for column in match[1].split(",")]
    picked = ", ".join(f"value ->> {number} as {column}" for number, column in enumerate(columns))
    return f"(select {picked} from jsonb_each(:input)){match[2] or ''}"


# ---- PostgreSQL ------------------------------------------------------------------------------------


class PostgresStatement(NamedTuple):
    """A statement with numbered parameters. `parameters` are the names of a read's, in their order; one with
    `@input` has one for each `inputs`, rows as `encoded`."""

    sql: str
    parameters: tuple[str, ...]
    inputs: int


def encoded(rows: Sequence[tuple[Any, ...]]) -> str:
    """The rows of an `@input`, as a JSON array of arrays: one parameter, however many columns there are. (An array a
    column costs the driver and the server several times as much.)"""
    return _encode(rows).decode()


@cache
def for_postgres() -> dict[str, PostgresStatement]:
    """Every statement in PostgreSQL's dialect; each `@input` reads the JSON array of arrays in a parameter."""
    bodies = {**all_statements(), **of_backend("postgres")}
    return {name: _for_postgres(body) for name, body in bodies.items()}


def _for_postgres(body: str) -> PostgresStatement:
    body = _COMMENT.sub("", body).strip()
    body = _EACH.sub(r"json_array_elements_text(cast(\1 as json))", body)
    body = body.replace("@room", "").replace("@queue", "")
    number = count(1)
    body, inputs = _INPUT.subn(lambda match: _jsonb_elements(match, next(number)), body)
    names = tuple(dict.fromkeys(_PARAMETER.findall(body)))
    if names and inputs:
        raise ValueError("a statement takes rows or named parameters, not both")
    numbers = {name: number for number, name in enumerate(names, start=1)}
    sql = _PARAMETER.sub(lambda match: f"${numbers[match[1]]}", body)
    return PostgresStatement(sql, names, inputs)


def _jsonb_elements(match: re.Match[str], parameter: int) -> str:
    """All elements are arrays. To ask for it lets the planner expect one row, and so look up rows by their keys, also
    while the table is empty or has not been analyzed yet."""
    columns = [column.split() for column in match[1].split(",")]
    picked = ", ".join(
        f"cast(value ->> {number} as {'bigint' if kind == 'integer' else kind}) as {name}"
        for number, (name, kind) in enumerate(columns)
    )
    rows = f"jsonb_array_elements(${parameter}::jsonb) where jsonb_typeof(value) = 'array'"
    return f"(select {picked} from {rows}) as {match[3] or 'input'}"
