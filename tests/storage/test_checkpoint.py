"""The WAL is copied beside the commits, and begins anew when it has grown out of hand: once, not at every commit from
then on. Looked at by hand here; the thread that looks runs in every other test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from narrows.storage import checkpoint, sqlite
from narrows.storage.checkpoint import Checkpointer

RESTART = apsw.SQLITE_CHECKPOINT_RESTART


class Writer:
    """The writer's connection, with a record of what the checkpointer asked of it."""

    def __init__(self, path: Path) -> None:
        self._raw = sqlite.connect(path)
        self._raw.execute(f"pragma application_id = {sqlite.APPLICATION_ID}; create table t (a)")
        self.restarts = 0
        self.timeouts_ms: list[int] = []

    def commit(self, pages: int = 1) -> None:
        for _ in range(pages):
            self._raw.execute("insert into t values (zeroblob(3000))")

    def set_busy_timeout(self, timeout_ms: int) -> None:
        self.timeouts_ms.append(timeout_ms)
        self._raw.set_busy_timeout(timeout_ms)

    def wal_checkpoint(self, *, mode: int) -> Any:
        assert mode == RESTART
        self.restarts += 1
        return self._raw.wal_checkpoint(mode=mode)

    def close(self) -> None:
        self._raw.close()


class Scene:
    """A checkpointer that looks when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = Writer(path)
        self.failures: list[str] = []
        self.checkpointer = Checkpointer(path, self.failures.append)
        self._looking = sqlite.connect(path)
        self._descriptor = os.open(path, os.O_RDWR)

    def look(self) -> None:
        self.checkpointer._look(self._looking, self._descriptor)

    def commit(self, pages: int = 1) -> None:
        self.writer.commit(pages)
        self.checkpointer.committed(self.writer)  # type: ignore[arg-type]

    def pages_in_wal(self) -> int:
        return self._looking.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)[0]

    def close(self) -> None:
        self._looking.close()
        self.writer.close()
        os.close(self._descriptor)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(checkpoint, "_PASSIVE_PAGES", 20)
    monkeypatch.setattr(checkpoint, "_RESTART_PAGES", 100)
    scene = Scene(tmp_path / "narrows.db")
    yield scene
    scene.close()


def test_a_wal_out_of_hand_is_begun_anew_once_and_not_at_each_commit_from_then_on(scene: Scene) -> None:
    scene.commit(200)
    scene.look()
    scene.commit()
    scene.commit()
    assert scene.writer.restarts == 1
    for _ in range(30):
        scene.commit()
        scene.look()
    assert scene.writer.restarts == 1
    assert scene.pages_in_wal() < 100


def test_a_small_wal_costs_no_commit_anything(scene: Scene) -> None:
    for _ in range(10):
        scene.commit(5)
        scene.look()
    assert scene.writer.restarts == 0
    assert scene.writer.timeouts_ms == []


def test_what_is_worth_it_is_copied_and_the_wal_begins_anew_by_itself(scene: Scene) -> None:
    scene.commit(50)
    scene.look()
    scene.commit()
    assert scene.pages_in_wal() < 20


def test_a_reader_that_holds_the_wal_open_keeps_no_commit_waiting_for_long(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    reader = sqlite.connect(scene.path, read_only=True)
    reader.execute("begin")
    before = next(reader.execute("select count(*) from t"))
    scene.commit(200)
    scene.look()
    with caplog.at_level(logging.INFO):
        scene.commit()
    assert "tried again" in caplog.text
    assert scene.writer.timeouts_ms == [checkpoint._RESTART_PATIENCE_MS, sqlite.BUSY_TIMEOUT_MS]
    assert next(reader.execute("select count(*) from t")) == before
    reader.close()
    scene.look()
    scene.commit()
    assert scene.writer.restarts == 2
    scene.commit()
    assert scene.pages_in_wal() < 20
    assert scene.failures == []
