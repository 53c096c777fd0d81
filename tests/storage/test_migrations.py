"""Migrations and whose database it is: ours and known, or refused before anything is changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import apsw
import pytest

from narrows.errors import SchemaUnknown, StorageError
from narrows.storage import migrations, sqlite
from narrows.storage.migrations import Migration, all_migrations, latest, pending
from narrows.storage.verify import verify

KNOWN = (Migration(1, "first", "", "a"), Migration(2, "second", "", "b"))


def test_the_files_are_numbered_without_a_gap_and_know_their_checksums() -> None:
    found = all_migrations()
    assert [migration.number for migration in found] == list(range(1, latest() + 1))
    for migration in found:
        assert hashlib.sha256(migration.sql.encode()).hexdigest() == migration.checksum


@pytest.mark.parametrize(
    ("applied", "expected"), [([], [1, 2]), ([(1, "a")], [2]), ([(1, "a"), (2, "b")], [])]
)
def test_what_is_not_applied_yet_is_pending(applied: list[tuple[int, str]], expected: list[int]) -> None:
    assert [migration.number for migration in pending(applied, KNOWN)] == expected


@pytest.mark.parametrize(
    ("applied", "sentence"),
    [
        ([(1, "a"), (2, "b"), (3, "c")], "schema version 3, this Narrows knows up to 2"),
        ([(1, "x")], "Migration 0001 of the database is not the one"),
        ([(2, "b")], "Migration 0001 of the database is not the one"),
        ([(1, "a"), (2, "x")], "Migration 0002"),
    ],
)
def test_what_is_unknown_is_refused(applied: list[tuple[int, str]], sentence: str) -> None:
    with pytest.raises(SchemaUnknown, match=sentence):
        pending(applied, KNOWN)


def _database(path: Path) -> apsw.Connection:
    connection = sqlite.connect(path)
    sqlite.migrate(connection, 1)
    return connection


def test_a_fresh_database_gets_all_and_a_second_start_none(tmp_path: Path) -> None:
    connection = sqlite.connect(tmp_path / "n.db")
    assert sqlite.migrate(connection, 1) == [migration.name for migration in all_migrations()]
    assert sqlite.migrate(connection, 2) == []
    ((application_id,),) = connection.execute("pragma application_id")
    assert application_id == sqlite.APPLICATION_ID
    connection.close()


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    connection = _database(tmp_path / "n.db")
    connection.execute("insert into schema_migrations values (?, 'later', 'x', 1)", (latest() + 1,))
    with pytest.raises(SchemaUnknown, match=r"Install the newer Narrows .* or go back to a backup"):
        sqlite.migrate(connection, 1)
    connection.close()


@pytest.mark.parametrize("table", ["customers", "schema_migrations"])
def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path, table: str) -> None:
    path = tmp_path / "foreign.db"
    foreign = apsw.Connection(str(path))
    foreign.execute(f"create table {table} (version text)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(SchemaUnknown, match="another program"):
        sqlite.connect(path)
    assert path.read_bytes() == before
    assert verify(path) != []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("not a database " * 1_000)
    with pytest.raises(StorageError):
        sqlite.connect(path)
    assert verify(path) != []


def test_a_migration_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = _database(tmp_path / "n.db")
    broken = Migration(latest() + 1, "broken", "create table half (a); create table half (a);", "x")
    monkeypatch.setattr(migrations, "all_migrations", lambda: (*all_migrations(), broken))
    with pytest.raises(StorageError, match="half"):
        sqlite.migrate(connection, 1)
    monkeypatch.undo()
    assert connection.execute("select count(*) from sqlite_schema where name = 'half'").get == 0
    assert sqlite.migrate(connection, 1) == []
    connection.close()


def test_an_old_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_vfs_loaded", False)
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    with pytest.raises(StorageError, match="too old"):
        sqlite.connect(tmp_path / "n.db")
