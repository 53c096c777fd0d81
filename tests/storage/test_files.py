"""The data folder: its lock, its modes, its file system, and backups of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from narrows.errors import StorageError, StoreLocked
from narrows.storage import files, sqlite
from narrows.storage.verify import verify
from tests.storage.kit import SqliteBackend, opened

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from narrows.storage.files import DataLock
lock = DataLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_with_the_firsts_id_until_it_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreLocked, match=rf"pid {holder.pid}\).*--data"):
            files.DataLock(tmp_path)
        assert files.holder_of(tmp_path) == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    lock = files.DataLock(tmp_path)
    lock.release()
    assert files.holder_of(tmp_path) is None


def test_a_lock_is_let_go_and_taken_again_within_a_process(tmp_path: Path) -> None:
    lock = files.DataLock(tmp_path)
    with pytest.raises(StoreLocked):
        files.DataLock(tmp_path)
    lock.release()
    files.DataLock(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used"):
        files.DataLock(tmp_path / "file" / "data")


async def test_everything_is_for_its_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    lock = files.DataLock(data)
    before = os.umask(0)
    try:
        async with opened(SqliteBackend(data)) as bench:
            await bench.open("a")
            modes = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
            files.backup(data / "narrows.db", tmp_path / "copy.db", lambda done, pages: None)
    finally:
        os.umask(before)
        lock.release()
    assert modes == {
        "narrows.lock": 0o600,
        "narrows.db": 0o600,
        "narrows.db-wal": 0o600,
        "narrows.db-shm": 0o600,
    }
    assert data.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


async def test_a_backup_while_writing_is_one_moment_of_the_store(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    copies = [tmp_path / f"copy{number}.db" for number in range(3)]
    async with opened(SqliteBackend(data)) as bench:
        stop = asyncio.Event()

        async def write() -> int:
            number = 0
            while not stop.is_set():
                await bench.open(f"k{number}", 0, request_payload='"' + "z" * 3_000 + '"')
                await bench.send(f"k{number}", "1")
                number += 1
            return number

        writing = asyncio.create_task(write())
        reports: list[tuple[int, int]] = []
        for copy in copies:
            await asyncio.to_thread(
                files.backup, data / "narrows.db", copy, lambda done, pages: reports.append((done, pages))
            )
        stop.set()
        written = await writing
    assert written > 0
    assert reports[-1][0] == reports[-1][1]
    counts = []
    for copy in copies:
        assert verify(copy) == []
        folder = tmp_path / f"restored-{copy.stem}"
        folder.mkdir()
        (folder / "narrows.db").write_bytes(copy.read_bytes())
        async with opened(SqliteBackend(folder)) as restored:
            counts.append(len(await restored.listed()))
            await restored.open("after", 0)
    assert counts == sorted(counts)
    assert [name for name in _names(tmp_path) if name.startswith("copy")] == [copy.name for copy in copies]


def test_a_backup_larger_than_its_cache_takes_what_is_in_the_wal_alone(tmp_path: Path) -> None:
    writer = sqlite.connect(tmp_path / "narrows.db")
    writer.execute(
        f"pragma application_id = {sqlite.APPLICATION_ID}; create table t (id integer primary key, a)"
    )
    numbers = "with recursive c (n) as (values (1) union all select n + 1 from c where n < 9000)"
    writer.execute(f"{numbers} insert into t select n, zeroblob(1000) from c")
    writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    for number in range(1, 9000, 50):
        writer.execute("update t set a = 'changed' where id = ?", (number,))

    files.backup(tmp_path / "narrows.db", tmp_path / "copy.db", lambda done, pages: None)

    copy = sqlite.connect(tmp_path / "copy.db", read_only=True)
    assert list(copy.execute("select count(*), sum(a = 'changed') from t")) == [(9000, 180)]
    assert list(copy.execute("pragma integrity_check")) == [("ok",)]
    copy.close()
    writer.close()


def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StorageError, match="never overwrites"):
        files.backup(tmp_path / "narrows.db", tmp_path / "copy.db", lambda done, pages: None)
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_a_backup_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no database"):
        files.backup(tmp_path / "narrows.db", tmp_path / "copy.db", lambda done, pages: None)


async def test_a_backup_that_is_broken_off_leaves_nothing_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()

    def break_off(done: int, pages: int) -> None:
        raise KeyboardInterrupt

    async with opened(SqliteBackend(data)) as bench:
        await bench.open("a")
        with pytest.raises(KeyboardInterrupt):
            files.backup(data / "narrows.db", tmp_path / "copy.db", break_off)
    assert _names(tmp_path) == ["data"]


async def test_a_backup_that_cannot_be_opened_leaves_no_descriptor_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    connect = apsw.Connection

    def only_the_source(path: str, **options: Any) -> apsw.Connection:
        if Path(path).parent == data:
            return connect(path, **options)
        raise apsw.CantOpenError("unable to open")

    async with opened(SqliteBackend(data)):
        pass
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(apsw, "Connection", only_the_source)
    with pytest.raises(StorageError):
        files.backup(data / "narrows.db", tmp_path / "copy.db", lambda done, pages: None)
    assert len(os.listdir("/proc/self/fd")) == before
    assert _names(tmp_path) == ["data"]


async def test_a_file_that_came_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    copy = tmp_path / "copy.db"
    async with opened(SqliteBackend(data)):
        with pytest.raises(StorageError, match="cannot be written"):
            files.backup(data / "narrows.db", copy, lambda done, pages: _overtake(copy))
    assert copy.read_text() == "precious"
    assert _names(tmp_path) == ["copy.db", "data"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounts = f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\nproc /proc proc rw 0 0\n"
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, **options: mounts if str(self) == "/proc/self/mounts" else read(self, **options),
    )
    folder = tmp_path / "data"
    folder.mkdir()
    assert files.file_system_of(folder) == kind
    with pytest.raises(StorageError, match=rf"network file system \({kind}\)"):
        files.refuse_network_file_system(folder)
    assert files.file_system_of(Path("/")) == "ext4"
    files.refuse_network_file_system(Path("/"))


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def _overtake(path: Path) -> None:
    path.write_text("precious")
