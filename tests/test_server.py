"""The composition root: a listener that cannot serve ends the server with a sentence."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from narrows import server
from narrows.config import Config
from narrows.errors import StorageError
from narrows.listener import Listener


def _config(folder: Path) -> Config:
    return Config(data=folder, port=0)


async def _serve(folder: Path, ready: Callable[[int], None] = lambda port: None) -> None:
    await asyncio.wait_for(server._serve(_config(folder), True, ready, {}), 10)


async def test_a_listener_that_fails_to_start_ends_the_server_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: Listener, sockets: Any = None) -> None:
        raise OSError("no more files")

    monkeypatch.setattr(Listener, "startup", fails)
    with pytest.raises(StorageError, match=r"cannot listen: OSError: no more files\. "):
        await _serve(tmp_path)
    assert not (tmp_path / "narrows.sock").exists(), "what was open is closed in order"


async def test_a_listener_that_dies_ends_the_server_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(self: Listener, counter: int) -> bool:
        raise RuntimeError("a fault")

    served: list[int] = []
    monkeypatch.setattr(Listener, "on_tick", dies)
    with pytest.raises(StorageError, match="a fault"):
        await _serve(tmp_path, served.append)


async def test_a_graceful_stop_writes_the_unmatched_events(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[None]] = []

    def ready(port: int) -> None:
        tasks.append(asyncio.create_task(_send_in_vain(port)))

    async def _send_in_vain(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /v1/events/nobody/send HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: 0\r\n\r\n".encode())
        await reader.read()
        writer.close()
        signal.raise_signal(signal.SIGTERM)

    await _serve(tmp_path, ready)
    with sqlite3.connect(tmp_path / "narrows.db") as connection:
        assert connection.execute("select event_key from unmatched_events").fetchall() == [("nobody",)]
