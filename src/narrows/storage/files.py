"""The data folder: who holds it, whether its file system can be trusted, and copies of the database.

One process writes an embedded database. It holds an exclusive lock on `narrows.lock` beside it, with
its process id inside, for as long as it lives; the operating system lets go of it when it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import apsw

from narrows.errors import StorageError, StoreCorrupt, StoreLocked
from narrows.storage import sqlite

LOCK_NAME = "narrows.lock"
BACKUP_PAGES = 1_000
#: Locks and shared memory cannot be relied on there.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"}
)


class DataLock:
    """The exclusive lock on a data folder, held until `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises StoreLocked with the holder's process id, or StorageError."""
        self.path = folder / LOCK_NAME
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _sync(folder.resolve().parent)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"The data folder {folder} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = holder_of(folder)
            os.close(self._descriptor)
            raise StoreLocked(
                f"Another process{f' (pid {holder})' if holder else ''} serves the data folder {folder}. "
                "Use that server, stop it, or name another folder with --data."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self._descriptor)


def holder_of(folder: Path) -> int | None:
    """The process id in the lock file, if some process holds the lock."""
    try:
        with (folder / LOCK_NAME).open("rb") as file:
            text = file.read()
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(text) if text.isdigit() else None
    except OSError:
        return None
    return None


def file_system_of(folder: Path) -> str:
    """The type of the file system that holds `folder`, "" where it cannot be told."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    best, found = "", ""
    target = str(folder.resolve())
    for line in mounts:
        point, kind = line.split()[1:3]
        if (target + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, found = point, kind
    return found


def refuse_network_file_system(folder: Path) -> None:
    """Raise StorageError where SQLite's locks would not hold."""
    kind = file_system_of(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StorageError(
            f"{folder} is on a network file system ({kind}), where a database file can be corrupted. "
            "Name a folder on a local disk with --data."
        )


def backup(source: Path, destination: Path, report: Callable[[int, int], None]) -> None:
    """A consistent copy of the database as it is at one moment, also beside a running server.

    `report(done_pages, all_pages)` tells how far it is. The copy is checked, synced, and only then
    gets its name; an existing file is never overwritten. Raises StorageError or StoreCorrupt.
    """
    if destination.exists():
        raise StorageError(f"{destination} exists already; a backup never overwrites. Name a new file.")
    if not source.exists():
        raise StorageError(f"There is no database {source} to copy. Name its folder with --data.")
    partial = destination.with_name(destination.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        _copy(source, partial, report)
        _sync(partial)
        os.link(partial, destination)  # unlike a rename, never over a file that came meanwhile
        _sync(destination.parent)
    except apsw.Error as error:
        raise sqlite.explain(error, source) from error
    except OSError as error:
        raise StorageError(f"The backup {destination} cannot be written: {error.strerror}.") from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _copy(source: Path, partial: Path, report: Callable[[int, int], None]) -> None:
    with contextlib.ExitStack() as at_the_end:
        reader = sqlite.connect(source, read_only=True)
        at_the_end.callback(reader.close)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        at_the_end.callback(os.close, descriptor)
        copy = apsw.Connection(str(partial))
        # Closed before the descriptor: to close any of a file drops SQLite's locks on it.
        at_the_end.callback(copy.close)
        # From its first page on the file has checksums: those that come out of the WAL have none yet.
        copy.reserve_bytes(reserve=sqlite.CHECKSUM_BYTES)
        copy.execute(f"pragma application_id = {sqlite.APPLICATION_ID}")
        # The open read transaction is what holds the moment while the server goes on writing.
        reader.execute("begin; select count(*) from sqlite_schema")
        with copy.backup("main", reader, "main") as work:
            while not work.done:
                work.step(BACKUP_PAGES)
                # A little each time: all at the end would hold up the syncs of those who write beside it.
                os.fdatasync(descriptor)
                report(work.page_count - work.remaining, work.page_count)
        reader.execute("commit")
        faults = list(copy.execute("pragma quick_check(1)"))
        if faults != [("ok",)]:
            raise StoreCorrupt(f"The copy of {source} is not sound: {faults[0][0]}. Run `narrows verify`.")
        copy.execute("pragma journal_mode = delete")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
