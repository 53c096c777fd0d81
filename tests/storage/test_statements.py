"""How a statement that takes rows is spelled for PostgreSQL, without a database."""

from __future__ import annotations

import re

import pytest

from narrows.storage import together
from narrows.storage.statements import all_statements, encoded, for_postgres

WITH_ROWS = sorted(name for name, body in all_statements().items() if "@input" in body)


def _parameters(sql: str) -> set[str]:
    return set(re.findall(r"\$\d+", sql))


@pytest.mark.parametrize("name", WITH_ROWS)
def test_rows_are_one_parameter_however_many_columns_they_have(name: str) -> None:
    assert _parameters(for_postgres()[name].sql) == {"$1"}


def test_each_input_of_a_statement_is_a_parameter() -> None:
    statement = for_postgres()["lock_roots"]
    assert len(_parameters(statement.sql)) == statement.inputs > 1


def test_statements_that_go_together_have_a_parameter_each() -> None:
    names = ("insert_runs", "update_steps", "insert_facts")
    assert _parameters(together.writes(names)) == {"$1", "$2", "$3"}
    behind = together.beside("lock_limited_jobs", ("jobs_by_id", "queued_runs_by_job"))
    assert _parameters(behind) == {"$1", "$2", "$3"}


def test_rows_are_encoded_in_their_order() -> None:
    assert encoded([("p", 1, None), ("q", -(2**63), 'a "b" \\ c')]) == (
        '[["p",1,null],["q",-9223372036854775808,"a \\"b\\" \\\\ c"]]'
    )
