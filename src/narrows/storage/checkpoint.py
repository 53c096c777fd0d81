"""Checkpoints in the background, on a connection of their own, so that no commit pays for them.

A passive checkpoint never resets the WAL while writes go on and leaves the syncing of the database
file to whoever catches up; so this thread also syncs the file itself, and the writer runs RESTART
once the WAL is too large. (Measured elsewhere on a million rows: p99 of a send 197 -> 17 ms.)

After a sync that failed the system may have forgotten pages that were not written, and the next sync
succeeds without them. So it is never tried again: the process ends, and recovery copies the WAL anew.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from narrows.storage import sqlite

log = logging.getLogger("narrows.storage")

_PASSIVE_PAGES = 1_000
_RESTART_BYTES = 256 << 20
_PAUSE_SECS = 0.25


class Checkpointer:
    """Copies the WAL into the database file beside the writer."""

    def __init__(self, path: Path, on_sync_failed: Callable[[str], None]) -> None:
        self._path = path
        self._on_sync_failed = on_sync_failed
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="narrows-checkpoint", daemon=True)
        self._started = False

    def start(self) -> None:
        self._started = True
        self._thread.start()

    def committed(self, writer: apsw.Connection) -> None:
        """Called by the writer's thread after each batch: only a WAL out of hand costs it anything."""
        self._wake.set()
        if self._wal_bytes() > _RESTART_BYTES:
            try:
                writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            except apsw.BusyError:
                log.info("a reader holds the WAL open; its checkpoint is tried again later")
            except apsw.Error as error:
                self._failed(error)

    def _wal_bytes(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

    def _run(self) -> None:
        connection = sqlite.connect(self._path)
        # Never closed: closing any descriptor of the file drops SQLite's POSIX locks on it.
        descriptor = os.open(self._path, os.O_RDWR)
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._wal_bytes() < _PASSIVE_PAGES * 4096 and not self._stopping.is_set():
                self._stopping.wait(_PAUSE_SECS)
                continue
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                os.fdatasync(descriptor)
            except apsw.BusyError:
                log.info("the checkpoint is tried again later: the database is busy")
            except (apsw.Error, OSError) as error:
                self._failed(error)
            self._stopping.wait(_PAUSE_SECS)
        connection.close()

    def _failed(self, error: apsw.Error | OSError) -> None:
        if isinstance(error, OSError) or sqlite.is_failed_sync(error):
            self._stopping.set()
            self._on_sync_failed(
                f"The disk did not keep a checkpoint: {error}. The server has to start again."
            )
        else:
            log.warning("the checkpoint failed and is tried again: %s", error)

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._started:
            self._thread.join()
