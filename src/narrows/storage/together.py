"""Several statements in one trip to PostgreSQL, whose latency is what a batch pays for each: loads become
one row with an array of records for each, beside the locks of rows too, writes one statement with a part for each. Pure text.

Parts of one statement do not see one another's changes, so that writes go together only where each has a
table of its own, or where the one makes new rows and the other changes old ones (`_OLD_AND_NEW`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from narrows.storage.statements import for_postgres

_NUMBER = re.compile(r"\$(\d+)")
_TABLE = re.compile(r"^(?:insert\s+into|update|delete\s+from)\s+(\w+)")
#: Of these no change touches what has to be unique, and no batch makes a row and changes it by another statement.
_OLD_AND_NEW = frozenset({"triggers", "runs", "steps", "workflow_runs"})
#: Combinations whose text is kept.
_KEPT = 1_000


@lru_cache(_KEPT)
def loads(names: tuple[str, ...]) -> str:
    """One row: for each statement an array of its rows."""
    return f"select {', '.join(_arrays(names))}"


@lru_cache(_KEPT)
def beside(first: str, names: tuple[str, ...]) -> str:
    """The one row of the first statement, and behind its columns what `loads` answers. All of it sees what was
    committed before it began, also where the first one waits for a lock."""
    statement = for_postgres()[first]
    arrays = _arrays(names, statement.inputs)
    return f"select {', '.join(('first.*', *arrays))} from ({statement.sql}) as first"


@lru_cache(_KEPT)
def writes(names: tuple[str, ...]) -> str:
    """One row: for each statement how many rows it changed."""
    parts, counts = _counted(names)
    return f"with {parts} select {counts}"


@lru_cache(_KEPT)
def single(names: tuple[str, ...]) -> str:
    """The same as a batch by itself (`single.py`), with six parameters more: how many rows each is to change, names, API
    keys, the batch's time, when it looked and how long ago that may be, in microseconds. It fails unless all is so."""
    parts, counts = _counted(names)
    behind = len(names) + 1
    types = ("bigint[]", "bigint[]", "text[]", "bigint", "bigint", "bigint")
    given = ", ".join(f"${number}::{kind}" for number, kind in enumerate(types, start=behind))
    return f"with {parts} select narrows_still_so(array[{counts}], {given})"


@lru_cache(_KEPT)
def apart(names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The writes, in their order, in groups of which each can be one statement."""
    groups: list[list[str]] = [[]]
    taken: dict[str, set[str]] = {}
    for name in names:
        verb, table = verb_and_table(name)
        earlier = taken.get(table, set())
        if earlier and not (
            table in _OLD_AND_NEW and earlier | {verb} == {"insert", "update"} and verb not in earlier
        ):
            groups.append([])
            taken.clear()
        taken.setdefault(table, set()).add(verb)
        groups[-1].append(name)
    return tuple(tuple(group) for group in groups if group)


@lru_cache(_KEPT)
def verb_and_table(name: str) -> tuple[str, str]:
    """Of a statement that writes. Raises ValueError where it cannot be told."""
    sql = for_postgres()[name].sql
    match = _TABLE.match(sql)
    if match is None:
        raise ValueError(f"{name} writes to no table that could be told")
    return sql.partition(" ")[0], match[1]


def _arrays(names: Sequence[str], taken: int = 0) -> list[str]:
    return [f"array(select row(x.*) from ({part}) as x)" for part in _numbered(names, taken)]


def _counted(names: Sequence[str]) -> tuple[str, str]:
    """Statements that write as parts of one, and how many rows each changed."""
    parts = [f"w{number} as ({part} returning 1)" for number, part in enumerate(_numbered(names))]
    counts = [f"(select count(*) from w{number})" for number in range(len(names))]
    return ", ".join(parts), ", ".join(counts)


def _numbered(names: Sequence[str], taken: int = 0) -> list[str]:
    """The statements, each with the number of its one parameter behind that of the one before."""
    parts = []
    for name in names:
        taken += 1
        parts.append(_NUMBER.sub(f"${taken}", for_postgres()[name].sql))
    return parts


def take_names(names: Sequence[tuple[int, bool]]) -> str:
    """The statement that takes these names (number, excludes others) and waits for each: a text, so that it
    needs no trip of its own."""
    if not names:
        return ""
    lock = (
        "case when excludes then pg_advisory_xact_lock(number) else pg_advisory_xact_lock_shared(number) end"
    )
    return f"select {lock} from {_name_rows(names)};"


def try_names(names: Sequence[tuple[int, bool]]) -> str:
    """The statement that takes those names that are free; it answers whether all were."""
    lock = (
        "case when excludes then pg_try_advisory_xact_lock(number)"
        " else pg_try_advisory_xact_lock_shared(number) end"
    )
    return f"select bool_and({lock}) from {_name_rows(names)}"


def _name_rows(names: Sequence[tuple[int, bool]]) -> str:
    rows = (f"({number}::bigint, {'true' if excludes else 'false'})" for number, excludes in names)
    return f"(values {', '.join(rows)}) as names(number, excludes)"
