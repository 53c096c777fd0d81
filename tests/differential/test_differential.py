"""One random sequence through the model and every database; and that a difference would be seen."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import apsw
import pytest

from narrows import operations
from narrows.core.records import Counters
from narrows.core.states import TriggerStatus
from narrows.errors import Conflict
from narrows.operations import reads
from narrows.storage import sqlite
from narrows.storage.statements import all_statements
from tests.differential.__main__ import main
from tests.differential.comparing import Difference, check
from tests.differential.faults import FAULTS, SEEN_BY_THE_MODEL
from tests.differential.reads_asked import NOT_ASKED
from tests.differential.sequence import Found, examine
from tests.differential.shrinking import shrink
from tests.differential.tables import STORAGE_ONLY, TABLES, places_of

STEPS = 5_000
#: A planted fault is found within so many steps.
STEPS_A_FAULT = 1_500
TWICE = ("sqlite", "sqlite")
REFUSALS = {"conflict", "not_found", "gone", "unauthenticated", "invalid_request", "schema_mismatch"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_database_and_the_model_are_the_same(record_property: Callable[[str, object], None]) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    record_property("differential seed", seed)
    report = examine(seed, STEPS)
    assert report.steps == STEPS
    assert report.commits > STEPS // 2
    # What is not asked is not compared.
    assert classes_with("apply", operations) - report.operations.keys() == set()
    assert classes_with("run", reads) - report.reads.keys() == NOT_ASKED
    assert REFUSALS - report.refused.keys() == set()


def classes_with(method: str, package: ModuleType) -> set[str]:
    """The classes of a package that have such a method, without those that others are made from."""
    found: list[type] = []
    for each in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(each.name)
        found += [kind for _, kind in inspect.getmembers(module, inspect.isclass) if hasattr(kind, method)]
    roots = {base for kind in found for base in kind.__mro__[1:]}
    return {
        kind.__name__ for kind in found if kind not in roots and kind.__module__.startswith(package.__name__)
    }


# ---- the comparison can fail -----------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_database_is_found(name: str) -> None:
    with pytest.raises(Found) as found:
        examine(1, STEPS_A_FAULT, TWICE, plant=FAULTS[name])
    assert isinstance(found.value.problem, Difference)
    last = found.value.steps[-1].number
    assert f"replay: python -m tests.differential --seed 1 --steps {last}" in str(found.value)


@pytest.mark.parametrize("name", SEEN_BY_THE_MODEL)
def test_a_fault_of_the_only_database_is_found(name: str) -> None:
    with pytest.raises(Found):
        examine(1, STEPS_A_FAULT, ("sqlite",), plant=FAULTS[name])


@pytest.mark.timeout(300)
def test_few_steps_are_left_of_a_sequence_that_fails() -> None:
    plant = FAULTS["a refusal has other words"]
    with pytest.raises(Found) as found:
        examine(1, STEPS_A_FAULT, TWICE, plant=plant)
    few = shrink(found.value, TWICE, plant=plant, secs=200)
    assert len(few.steps) < len(found.value.steps) // 2
    assert few.steps[-1].asked.name == found.value.steps[-1].asked.name


def test_a_failing_sequence_is_told_with_the_command_that_replays_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.differential.__main__.examine", fails)
    assert main(["--steps", "40", "--seed", "5", "--shrink-secs", "0"]) == 1
    printed = capsys.readouterr().out
    assert "replay: python -m tests.differential --seed 5 --steps" in printed
    monkeypatch.undo()
    assert main(["--steps", "40", "--seed", "5"]) == 0


def fails(seed: int, steps: int, names: tuple[str, ...], **options: int) -> object:
    return examine(seed, steps, TWICE, plant=FAULTS["a clock is ahead"])


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (1, 2, "it: 1, and 2"),
        (1, True, "it: 1, and True"),
        (1, 1.0, "it: 1, and 1.0"),
        (None, "null", "it: None, and 'null'"),
        ((1, (2, 3)), (1, (2, 4)), r"it\[1\]\[1\]: 3, and 4"),
        ([1], (1,), r"it: \[1\], and \(1,\)"),
        ([1, 2], [1], r"2, and 1 of them; one side alone has \[2\]"),
        ({"a": 1}, {"a": 2}, r"it\['a'\]: 1, and 2"),
        ({"a": 1}, {"b": 1}, r"it: \['a'\], and \['b'\]"),
        (Counters("p", "", 1, 0, 0, 0, 0, 0, 0), Counters("p", "", 1, 0, 0, 0, 0, 9, 0), "it.held: 0, and 9"),
        (Conflict("No."), Conflict("Never."), r"it\[1\]: 'No.', and 'Never.'"),
        ([Conflict("No.", details=["a"])], [Conflict("No.")], "- a"),
        (Conflict("No."), None, "Conflict"),
    ],
)
def test_what_differs_is_told(one: object, other: object, told: str) -> None:
    check(one, one, "it")
    with pytest.raises(Difference, match=told):
        check(one, other, "it")


def test_a_word_of_an_enumeration_is_that_text() -> None:
    check(TriggerStatus.WAITING, "waiting", "it")


# ---- nothing is left out ---------------------------------------------------------------------------


def test_every_column_of_every_table_is_compared(tmp_path: Path) -> None:
    connection = sqlite.connect(tmp_path / "narrows.db")
    sqlite.migrate(connection, 0)
    there_are = {table: set(columns_of(connection, table)) for table in tables_of(connection)}
    del there_are["schema_migrations"]
    compared = {
        name: {*table.columns, *table.summed} | STORAGE_ONLY.get(name, set())
        for name, table in TABLES.items()
    }
    assert compared == there_are
    connection.close()


def tables_of(connection: apsw.Connection) -> list[str]:
    return [name for (name,) in connection.execute("select name from sqlite_schema where type = 'table'")]


def columns_of(connection: apsw.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"pragma table_info({table})")]


def test_whatever_the_writer_writes_is_looked_at() -> None:
    written = [
        name
        for name, body in all_statements().items()
        if body.splitlines()[[line.startswith("--") for line in body.splitlines()].index(False)].startswith(
            ("insert", "update", "delete")
        )
    ]
    assert len(written) > 40
    for name in written:
        (place,) = places_of(name, [("a", "b", "c", "d")])
        assert place.table in TABLES
