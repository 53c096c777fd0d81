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

#: So many pages that were not copied are worth a checkpoint.
_PASSIVE_PAGES = 1_000
#: With so many in the WAL (256 MiB) it is out of hand.
_RESTART_PAGES = 65_536
_PAUSE_SECS = 0.25
#: So long a commit waits for readers that hold the WAL open. It may grow on: a backup reads for minutes.
_RESTART_PATIENCE_MS = 20


class Checkpointer:
    """Copies the WAL into the database file beside the writer."""

    def __init__(self, path: Path, on_sync_failed: Callable[[str], None]) -> None:
        self._path = path
        self._on_sync_failed = on_sync_failed
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="narrows-checkpoint", daemon=True)
        self._started = False
        self._is_out_of_hand = False

    def start(self) -> None:
        self._started = True
        self._thread.start()

    def committed(self, writer: apsw.Connection) -> None:
        """Called by the writer's thread after each batch: only a WAL out of hand costs it anything. (Even a look at
        the file's size would: whoever gives up Python's lock waits until a busy event loop gives it back.)"""
        if not self._wake.is_set():
            self._wake.set()
        if self._is_out_of_hand:
            self._is_out_of_hand = False
            self._restart(writer)

    def _restart(self, writer: apsw.Connection) -> None:
        """Let the next commit write at the WAL's beginning. The file keeps its size, which says nothing."""
        writer.set_busy_timeout(_RESTART_PATIENCE_MS)
        try:
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        except apsw.BusyError:
            log.info("a reader holds the WAL open; its checkpoint is tried again later")
        except apsw.Error as error:
            self._failed(error)
        finally:
            writer.set_busy_timeout(sqlite.BUSY_TIMEOUT_MS)

    def _run(self) -> None:
        connection = sqlite.connect(self._path)
        # Never closed: closing any descriptor of the file drops SQLite's POSIX locks on it.
        descriptor = os.open(self._path, os.O_RDWR)
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            self._look(connection, descriptor)
            self._stopping.wait(_PAUSE_SECS)
        connection.close()

    def _look(self, connection: apsw.Connection, descriptor: int) -> None:
        """Copy what is worth it. What is committed meanwhile keeps the WAL from beginning anew by itself."""
        try:
            pages, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            if pages - copied >= _PASSIVE_PAGES or self._stopping.is_set():
                pages, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                os.fdatasync(descriptor)
        except apsw.BusyError:
            log.info("the checkpoint is tried again later: the database is busy")
        except (apsw.Error, OSError) as error:
            self._failed(error)
        else:
            self._is_out_of_hand = pages > _RESTART_PAGES

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
