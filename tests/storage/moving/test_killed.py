"""A move that was killed anywhere goes on, and until it has ended nobody serves its target."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from narrows import server
from narrows.config import Config
from narrows.errors import SchemaUnknown
from narrows.storage.moving import embedded, shared
from narrows.storage.moving.move import checksum
from narrows.storage.moving.tables import Table, tables
from tests.storage.moving.killed import killed
from tests.storage.moving.kit import moved, rows_of, sql

PLACES = [
    ("begin", 1, "after"),
    ("write", 1, "before"),
    ("write", 5, "after"),
    ("write", 33, "after"),
    ("finish", 1, "before"),
]


@pytest.mark.parametrize(("method", "place", "when"), PLACES)
def test_a_killed_move_to_postgresql_goes_on(
    old: Config, new: Config, method: str, place: int, when: str
) -> None:
    killed(old, new, method, place, when)
    with pytest.raises(SchemaUnknown, match="has not ended"):
        asyncio.run(server.has_api_keys(new))
    assert moved(old, new).faults == []
    assert asyncio.run(_checksums(old, new)) == (True, len(tables()))


@pytest.mark.parametrize(("method", "place", "when"), [PLACES[0], PLACES[2], PLACES[-1]])
def test_a_killed_move_to_sqlite_goes_on(
    old: Config, filled: Config, back: Config, method: str, place: int, when: str
) -> None:
    killed(filled, back, method, place, when)
    with pytest.raises(SchemaUnknown, match="has not ended"):
        asyncio.run(server.has_api_keys(back))
    assert moved(filled, back).faults == []
    assert rows_of(back.database_path) == rows_of(old.database_path)


async def _checksums(old: Config, new: Config) -> tuple[bool, int]:
    """Whether all tables are equal, and how many there are."""
    folders = {old.data}
    async with (
        embedded.source(old.database_path, folders) as one,
        shared.source(new.database, "new", ()) as other,
    ):
        pairs = [
            [await checksum(side, table, lambda rows: None) for side in (one, other)] for table in tables()
        ]
    return all(one == other for one, other in pairs), len(pairs)


def test_what_is_copied_already_is_not_copied_again(
    old: Config, new: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(old, new, "write", 33, "after")
    remembered = sql(new, "select name, value from moving where name <> ''")
    assert sum(json.loads(str(value))["rows"] for _, value in remembered) > 33
    written: dict[str, int] = {}
    known = shared.Shared.write

    async def counted(self: Any, table: Table, chunk: Any, progress: str) -> None:
        written[table.name] = written.get(table.name, 0) + len(chunk.rows)
        await known(self, table, chunk, progress)

    monkeypatch.setattr(shared.Shared, "write", counted)
    everything = moved(old, new).rows
    assert sum(written.values()) == everything - sum(
        json.loads(str(value))["rows"] for _, value in remembered
    )
