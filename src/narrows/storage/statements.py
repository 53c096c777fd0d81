"""The named SQL statements. SQL stands once, in `sql/*.sql`; this module finds it and spells it for
a backend. It knows no table.

A statement begins with `-- name: <name>`. `@input(column type, ...)` stands for the rows that the
caller gives, one statement for a whole batch: SQLite reads them by `json_each`, PostgreSQL would by
`unnest`. Reads use `:name` parameters.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_INPUT = re.compile(r"@input\(([^)]*)\)")


@cache
def all_statements() -> dict[str, str]:
    """Every statement by name, as written. Raises ValueError where a name stands twice."""
    statements: dict[str, str] = {}
    for file in sorted(files("narrows.storage").joinpath("sql").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        _, *parts = _NAME.split(file.read_text(encoding="utf-8"))
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            if name in statements:
                raise ValueError(f"the statement {name} stands twice")
            statements[name] = body.strip()
    return statements


@cache
def for_sqlite() -> dict[str, str]:
    """Every statement in SQLite's dialect; `@input` reads the JSON array of arrays in `:input`."""
    return {name: _INPUT.sub(_json_each, body) for name, body in all_statements().items()}


def _json_each(match: re.Match[str]) -> str:
    columns = [column.split()[0] for column in match[1].split(",")]
    picked = ", ".join(f"value ->> {number} as {column}" for number, column in enumerate(columns))
    return f"(select {picked} from json_each(:input))"
