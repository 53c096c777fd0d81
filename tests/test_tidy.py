"""The house rules that a machine can hold: sizes, banned calls outside their homes, SQL and statuses
in their places, statements that nobody uses, the code map. `make check` runs this file.

Each check is a function over the source tree, so that the tests below can also show that it fails.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "narrows"

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_MEDIAN_FUNCTION_LINES = 12

#: Call -> the files that may make it. Everybody else takes a Clock, or prints nothing.
HOMES: dict[str, tuple[str, ...]] = {
    "time.time": ("clock.py", "client/pace.py"),  # a client has no server's clock to be handed
    "time.time_ns": ("clock.py",),
    "time.monotonic": ("clock.py", "client/", "cli/"),
    "datetime.now": ("clock.py",),
    "datetime.utcnow": (),
    "datetime.today": (),
    "date.today": (),
    "os.urandom": ("clock.py", "client/"),  # an idempotency key is made where the call is made
    "uuid.uuid4": (),
    "uuid.uuid1": (),
    "print": ("cli/",),
}
BANNED_MODULES = ("random", "secrets")

#: Statuses of triggers, spelled in `core/states.py`. `wire/` and `client/` repeat the contract, which
#: stays as it is even if the table changes; `cli/` reads replies.
STATUSES = frozenset({"waiting", "received", "timed_out", "canceled"})
STATUS_HOMES = (
    "core/states.py",
    "core/records.py",
    "wire/",
    "client/",
    "cli/",
    "storage/sql/",
    "api/reference/",
)

SQL = re.compile(
    r"\b(select\b[\s\S]+?\bfrom\b|insert\s+(or\s+\w+\s+)?into\b|update\s+\w+\s+set\b|delete\s+from\b"
    r"|create\s+(table|(unique\s+)?index)\b|(drop|alter)\s+table\b)",
    re.IGNORECASE,
)
#: SQL stands in `storage/sql` and `storage/migrations`; these speak to a database about itself, or of
#: any table alike.
SQL_HOMES = (
    "storage/sqlite.py",
    "storage/files.py",
    "storage/verify.py",
    "storage/moving/",
    "storage/postgres.py",
    "storage/postgres_schema.py",
    "storage/together.py",
)

NAMED = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
#: Written in two parts, or this file would name them.
REGISTRY_HOSTS = tuple(
    f"{name}.{top}"
    for name, top in (
        ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("crates", "io"),
        ("proxy.golang", "org"), ("maven", "org"), ("debian", "org"),
    )
)  # fmt: skip


class Fault(NamedTuple):
    where: str
    what: str


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def own_files() -> list[Path]:
    """All Python of the project."""
    return [
        *package_files(),
        *sorted((ROOT / "tests").rglob("*.py")),
        *sorted((ROOT / "benchmarks").rglob("*.py")),
    ]


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()


def at_home(name: str, homes: tuple[str, ...]) -> bool:
    return any(name == home or (home.endswith("/") and name.startswith(home)) for home in homes)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute, else empty."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (value := dotted(node.value)):
        return f"{value}.{node.attr}"
    return ""


def docstrings(tree: ast.AST) -> set[int]:
    """The ids of the constants that are docstrings."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def too_long(name: str, source: str) -> Iterator[Fault]:
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield Fault(name, f"has {lines} lines, over {MAX_FILE_LINES}")
    for function, length in functions(ast.parse(source)):
        if length > MAX_FUNCTION_LINES:
            yield Fault(name, f"{function} has {length} lines, over {MAX_FUNCTION_LINES}")


def banned_calls(name: str, source: str) -> Iterator[Fault]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            short = ".".join(called.split(".")[-2:])
            for banned, homes in HOMES.items():
                if banned in (called, short) and not at_home(name, homes):
                    yield Fault(f"{name}:{node.lineno}", f"calls {banned}")
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if module.partition(".")[0] in BANNED_MODULES:
                yield Fault(f"{name}:{getattr(node, 'lineno', 0)}", f"imports {module}")


def stray_sql(name: str, source: str) -> Iterator[Fault]:
    tree = ast.parse(source)
    prose = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            if SQL.search(node.value) and not at_home(name, SQL_HOMES):
                yield Fault(f"{name}:{node.lineno}", f"holds SQL: {node.value[:40]!r}")


def stray_statuses(name: str, source: str) -> Iterator[Fault]:
    """A status as a literal. As a keyword's or attribute's name it is a field, not a status."""
    if at_home(name, STATUS_HOMES):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in STATUSES:
            yield Fault(f"{name}:{node.lineno}", f"spells the status {node.value!r}; use core.states")


def missing_docstring(name: str, source: str) -> Iterator[Fault]:
    if source.strip() and not ast.get_docstring(ast.parse(source)):
        yield Fault(name, "does not say what it is: the module has no docstring")


@pytest.mark.parametrize("check", [too_long, missing_docstring], ids=lambda check: check.__name__)
def test_every_file(check: object) -> None:
    assert callable(check)
    faults = [fault for path in own_files() for fault in check(name_of(path), path.read_text())]
    assert not faults, "\n".join(f"{fault.where} {fault.what}" for fault in faults)


@pytest.mark.parametrize("check", [banned_calls, stray_sql, stray_statuses], ids=lambda check: check.__name__)
def test_the_package(check: object) -> None:
    assert callable(check)
    faults = [fault for path in package_files() for fault in check(name_of(path), path.read_text())]
    assert not faults, "\n".join(f"{fault.where} {fault.what}" for fault in faults)


def test_functions_are_short_on_the_whole() -> None:
    lengths = [length for path in package_files() for _, length in functions(ast.parse(path.read_text()))]
    assert statistics.median(lengths) <= MAX_MEDIAN_FUNCTION_LINES


def test_every_named_statement_is_used() -> None:
    python = "\n".join(path.read_text() for path in package_files())
    words = set(re.findall(r"\w+", python))
    named = [name for path in PACKAGE.rglob("storage/sql/*.sql") for name in NAMED.findall(path.read_text())]
    assert [name for name in named if name not in words] == []


def test_the_code_map_names_every_file() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [
        name_of(path)
        for path in package_files()
        if path.name not in ("__init__.py", "__main__.py") and path.name not in text
    ]
    assert missing == []


def test_no_file_names_a_registry() -> None:
    """Where packages come from is the machine's affair; a lock holds hashes, not addresses."""
    suffixes = {".py", ".toml", ".txt", ".md", ".sql", ".sh", ".lua", ".json", ".yml", ".html", ".js", ""}
    skipped = {
        ".git",
        ".venv",
        ".narrows",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".work",
        ".hypothesis",
    }
    found = []
    for path in ROOT.rglob("*"):
        if skipped & set(path.parts) or path.suffix not in suffixes or not path.is_file():
            continue
        text = path.read_text(errors="ignore")
        found += [(path.relative_to(ROOT).as_posix(), host) for host in REGISTRY_HOSTS if host in text]
    assert found == []


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (too_long, "def long():\n" + "    pass\n" * MAX_FUNCTION_LINES),
        (too_long, "\n" * (MAX_FILE_LINES + 1)),
        (banned_calls, "import time\nnow = time.time()\n"),
        (banned_calls, "from datetime import datetime\nnow = datetime.now(None)\n"),
        (banned_calls, "import random\n"),
        (banned_calls, "print('x')\n"),
        (stray_sql, "x = 'select a from b'\n"),
        (stray_sql, "x = 'INSERT INTO b values (1)'\n"),
        (stray_statuses, "x = status == 'waiting'\n"),
        (missing_docstring, "x = 1\n"),
    ],
)
def test_the_checks_can_fail(check: object, source: str) -> None:
    assert callable(check)
    assert list(check("operations/example.py", source))


def test_the_checks_let_pass_what_is_meant() -> None:
    source = '"""Update the row from select few."""\n\n\ndef fine() -> str:\n    return "Select a file."\n'
    for check in (too_long, banned_calls, stray_sql, stray_statuses, missing_docstring):
        assert list(check("operations/example.py", source)) == []
