"""A disk of the tests: it stands between SQLite's checksum layer and its Unix files, records what is
written and synced, and fails on demand.

SQLite calls a file through a table of methods. A VFS written in Python cannot share a WAL between
connections (apsw has no methods for shared memory), so instead each file of each connection gets a
copy of its own table, in which writing, truncating and syncing are ours. `install` does that for
every connection of this process from then on, so it belongs into a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from narrows.storage import sqlite

SECTOR_BYTES = 512
OK = apsw.SQLITE_OK
FULL = apsw.SQLITE_FULL
IO_WRITE = apsw.SQLITE_IOERR_WRITE
IO_SYNC = apsw.SQLITE_IOERR_FSYNC

_METHODS = 21  # a version number and twenty pointers are more than the newest table has
_X_WRITE, _X_TRUNCATE, _X_SYNC = 3, 4, 5
_CHECKSUM_FILE_BYTES = 32  # struct CksmFile: the file it wraps stands right behind it
_Pointer = ctypes.POINTER(ctypes.c_void_p)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class Event(NamedTuple):
    """`kind` is write, truncate, sync or ack. A sync makes durable what was written before `number`."""

    kind: str
    file: str = ""
    offset: int = 0
    data: bytes = b""
    number: int = 0


class Disk:
    """The record of one run. `fault(kind, file)` answers an SQLite result code; OK lets it pass."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fault: Callable[[str, str], int] = lambda kind, file: OK
        self._keep: list[Any] = []
        self._lock = threading.Lock()

    def record(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)

    def acknowledged(self, number: int) -> None:
        self.record(Event("ack", number=number))

    def install(self) -> None:
        """Stand under every connection made from now on, and under the checkpointer's own sync."""
        connect = sqlite.connect

        def watched(path: str | Path, **options: Any) -> apsw.Connection:
            connection = connect(path, **options)
            self._stand_under(connection, apsw.SQLITE_FCNTL_FILE_POINTER, "db")
            connection.execute("select count(*) from sqlite_schema").fetchall()  # opens the WAL
            self._stand_under(connection, apsw.SQLITE_FCNTL_JOURNAL_POINTER, "wal")
            return connection

        fdatasync = os.fdatasync

        def watched_fdatasync(descriptor: Any) -> None:
            number = len(self.events)
            if self.fault("sync", "db") != OK:
                raise OSError(5, "Input/output error")
            fdatasync(descriptor)
            self.record(Event("sync", "db", number=number))

        sqlite.connect = watched
        os.fdatasync = watched_fdatasync  # type: ignore[assignment]

    def _stand_under(self, connection: apsw.Connection, pointer_kind: int, file: str) -> None:
        found = ctypes.c_void_p()
        connection.file_control("main", pointer_kind, ctypes.addressof(found))
        assert found.value
        # Only the database is a file of the checksum layer; the WAL's checksums are SQLite's own.
        lower = ctypes.cast(found.value + (_CHECKSUM_FILE_BYTES if file == "db" else 0), _Pointer)
        original = ctypes.cast(lower[0], _Pointer)
        table = (ctypes.c_void_p * _METHODS)(*(original[slot] for slot in range(19)))
        write, truncate, sync = self._methods(original, file)
        table[_X_WRITE] = ctypes.cast(write, ctypes.c_void_p).value
        table[_X_TRUNCATE] = ctypes.cast(truncate, ctypes.c_void_p).value
        table[_X_SYNC] = ctypes.cast(sync, ctypes.c_void_p).value
        self._keep += [table, write, truncate, sync]
        lower[0] = ctypes.addressof(table)

    def _methods(self, original: Any, file: str) -> tuple[Any, Any, Any]:
        write_below = _Write(original[_X_WRITE])
        truncate_below = _Truncate(original[_X_TRUNCATE])
        sync_below = _Sync(original[_X_SYNC])

        def write(pointer: int, data: int, size: int, offset: int) -> int:
            if (code := self.fault("write", file)) != OK:
                return code
            self.record(Event("write", file, offset, ctypes.string_at(data, size)))
            return int(write_below(pointer, data, size, offset))

        def truncate(pointer: int, size: int) -> int:
            if (code := self.fault("truncate", file)) != OK:
                return code
            self.record(Event("truncate", file, size))
            return int(truncate_below(pointer, size))

        def sync(pointer: int, flags: int) -> int:
            number = len(self.events)
            if (code := self.fault("sync", file)) != OK:
                return code
            code = int(sync_below(pointer, flags))
            self.record(Event("sync", file, number=number))
            return code

        return _Write(write), _Truncate(truncate), _Sync(sync)


class Image:
    """What stands on the disk after a power cut: all that was synced, of the rest whatever the disk
    happened to write, in whole or in sectors."""

    def __init__(self, start: dict[str, bytes]) -> None:
        self._durable = {file: bytearray(data) for file, data in start.items()}
        self._pending: dict[str, list[tuple[int, Event]]] = {file: [] for file in start}
        self.acknowledged: set[int] = set()

    def take(self, number: int, event: Event) -> None:
        if event.kind == "ack":
            self.acknowledged.add(event.number)
        elif event.kind == "sync":
            pending = self._pending[event.file]
            for at, earlier in pending:
                if at < event.number:
                    _apply(self._durable[event.file], earlier)
            self._pending[event.file] = [(at, later) for at, later in pending if at >= event.number]
        else:
            self._pending[event.file].append((number, event))

    def cut(self, random: Any) -> dict[str, bytes]:
        """The files after the power went now."""
        found = {}
        for file, durable in self._durable.items():
            content = bytearray(durable)
            for _, event in self._pending[file]:
                luck = random.random()
                if luck < 0.4:
                    _apply(content, event)
                elif luck < 0.7 and event.kind == "write":
                    _apply_sectors(content, event, random)
            found[file] = bytes(content)
        return found


def _apply(content: bytearray, event: Event) -> None:
    if event.kind == "truncate":
        del content[event.offset :]
        return
    end = event.offset + len(event.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[event.offset : end] = event.data


def _apply_sectors(content: bytearray, event: Event, random: Any) -> None:
    """Some of the sectors of a write: a cut in the middle tears it."""
    position = 0
    while position < len(event.data):
        offset = event.offset + position
        size = min(SECTOR_BYTES - offset % SECTOR_BYTES, len(event.data) - position)
        if random.random() < 0.5:
            part = event.data[position : position + size]
            _apply(content, Event("write", event.file, offset, part))
        position += size
