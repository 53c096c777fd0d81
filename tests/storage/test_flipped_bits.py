"""A bit that flipped on the disk is refused loudly: no page of the file is ever served wrong."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from pathlib import Path

import apsw
import pytest

from narrows.errors import NarrowsError, StorageError, StoreCorrupt
from narrows.storage import sqlite
from narrows.storage.verify import verify
from narrows.testing import ManualClock
from tests.storage.kit import Bench, SqliteBackend, opened

WAITS = 120
PAYLOAD = '"' + "y" * 1_500 + '"'
PAGE_BYTES = 4_096


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of some hundred pages, all of them in the file."""
    folder = tmp_path_factory.mktemp("sound")
    asyncio.run(_fill(folder))
    return folder


async def _fill(folder: Path) -> None:
    async with opened(SqliteBackend(folder)) as bench:
        await bench.together(*(bench.opening(f"k{number}", 0, tags='{"a":"b"}') for number in range(WAITS)))
        await bench.together(*(bench.sending(f"k{number}", PAYLOAD) for number in range(WAITS // 2)))


def _pages(path: Path) -> dict[str, list[int]]:
    """The pages of each table and index."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs="unix")
    found: dict[str, list[int]] = {}
    for name, page in connection.execute("select name, pageno from dbstat"):
        found.setdefault(name, []).append(page)
    connection.close()
    return found


def _flip(path: Path, page: int, source: random.Random) -> None:
    content = bytearray(path.read_bytes())
    position = (page - 1) * PAGE_BYTES + source.randrange(PAGE_BYTES)
    content[position] ^= 1 << source.randrange(8)
    path.write_bytes(content)


async def _read_all(bench: Bench) -> list[tuple[str, str, str | None]]:
    return sorted((t.event_key, t.status, t.response_payload) for t in await bench.listed())


EXPECTED = sorted(
    (f"k{number}", "received" if number < WAITS // 2 else "waiting", PAYLOAD if number < WAITS // 2 else None)
    for number in range(WAITS)
)


@pytest.mark.parametrize(
    "name", ["triggers", "triggers_key", "triggers_due", "payloads", "facts", "counters"]
)
async def test_it_is_never_served_and_verify_finds_it(sound: Path, tmp_path: Path, name: str) -> None:
    source = random.Random(name)
    pages = _pages(sound / "narrows.db")[name]
    for round_number, page in enumerate(source.sample(pages, min(3, len(pages)))):
        folder = tmp_path / str(round_number)
        shutil.copytree(sound, folder)
        _flip(folder / "narrows.db", page, source)
        assert any("does not hold what was written" in fault for fault in verify(folder / "narrows.db"))
        with contextlib.suppress(StoreCorrupt):
            async with opened(SqliteBackend(folder), ManualClock(seed=1), project=False) as bench:
                assert await _read_all(bench) == EXPECTED
        if name in ("triggers", "payloads"):
            async with opened(SqliteBackend(folder), ManualClock(seed=1), project=False) as bench:
                with pytest.raises(StoreCorrupt, match="restore a backup"):
                    await _read_all(bench)


async def test_the_writer_refuses_only_what_needs_the_damaged_page(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sound, folder)
    leaf = _pages(sound / "narrows.db")["triggers_key"][-1]
    _flip(folder / "narrows.db", leaf, random.Random(1))
    async with opened(SqliteBackend(folder), ManualClock(seed=1), project=False) as bench:
        keys = [f"k{number}" for number in range(WAITS)]
        outcomes = await bench.together(*(bench.canceling(key) for key in keys[WAITS // 2 :]))
        refused = [outcome for outcome in outcomes if isinstance(outcome, StoreCorrupt)]
        done = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        assert refused
        assert len(refused) + len(done) == len(outcomes)
        with contextlib.suppress(NarrowsError):
            await bench.project("still-writing")


async def test_a_damaged_first_page_keeps_the_store_from_opening(sound: Path, tmp_path: Path) -> None:
    for position in (3, 40, 200, 2_000, 4_090):
        folder = tmp_path / str(position)
        shutil.copytree(sound, folder)
        path = folder / "narrows.db"
        content = bytearray(path.read_bytes())
        content[position] ^= 4
        path.write_bytes(content)
        with pytest.raises(StorageError):
            sqlite.migrate(sqlite.connect(path), 1)
        assert verify(path)


def test_a_sound_copy_is_sound(sound: Path) -> None:
    assert verify(sound / "narrows.db") == []
