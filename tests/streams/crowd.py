"""A crowd on one server: many streams that read, some that are frozen, and changes for all of them.
The frozen must be cut, and the others get every change, in order, to the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from tests.streams.live import Live
from tests.streams.readers import Reader, frozen, is_cut

#: Nobody wants to wait 30 s in a test: the same code, with another figure. There is no such option.
SHORT_STALL = """
import dataclasses
from narrows import server
settings = server._api_settings
server._api_settings = lambda *given, **named: dataclasses.replace(
    settings(*given, **named), stream_stall_secs=1, stream_comment_secs=2
)
"""
FAT_BYTES = 400_000
ROUNDS = 12
GIVE_UP_SECS = 60.0


class Report(NamedTuple):
    cut: int
    frozen: int
    faults: list[str]


@asynccontextmanager
async def reading(readers: list[Reader]) -> AsyncIterator[list[asyncio.Task[Reader]]]:
    """All of them open, each with its first frame."""
    tasks = [asyncio.create_task(each.run()) for each in readers]
    try:
        await asyncio.gather(*(each.is_open.wait() for each in readers))
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def crowd(folder: Path, streams: int, frozen_count: int) -> Report:
    """Of `streams` streams `frozen_count` never read; they watch a wait with a large payload."""
    with Live(folder, before=SHORT_STALL, log_level="warning") as live:
        async with httpx2.AsyncClient(base_url=live.url, timeout=60) as http:
            keys = [f"thin:{n}" for n in range(40)]
            ids = [await _open(http, {"event_key": key}) for key in keys]
            fat = await _open(http, {"event_key": "fat", "request_payload": "x" * FAT_BYTES})
            readers = [
                Reader(live.port, f"/v1/events/{keys[n % len(keys)]}/stream")
                for n in range(streams - frozen_count - 3)
            ]
            readers += [Reader(live.port, "/v1/events/fat/stream") for _ in range(3)]
            with frozen(live.port, "/v1/events/fat/stream", frozen_count) as connections:
                async with reading(readers) as tasks:
                    for number in range(ROUNDS):
                        await _change(http, [*ids, fat], number)
                    cut = await _all_cut(http, fat, connections)
                    extended = ROUNDS + cut[1]
                    await asyncio.gather(*(_settle(http, each) for each in (*ids, fat)))
                    await asyncio.wait_for(asyncio.gather(*tasks), GIVE_UP_SECS)
            faults = [
                fault
                for each in readers
                for fault in _faults(each, extended if b"/fat/" in each.request else ROUNDS)
            ]
        if live.stop() != 0:
            faults.append("the server did not end with 0")
    return Report(cut[0], frozen_count, faults)


async def _open(http: httpx2.AsyncClient, body: dict[str, Any]) -> str:
    answer = await http.post("/v1/events", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _change(http: httpx2.AsyncClient, ids: list[str], number: int) -> None:
    body = {"timeout_secs": 1000 + number}
    answers = await asyncio.gather(*(http.post(f"/v1/triggers/{each}/extend", json=body) for each in ids))
    assert {each.status_code for each in answers} == {200}


async def _settle(http: httpx2.AsyncClient, trigger_id: str) -> None:
    answer = await http.post(f"/v1/triggers/{trigger_id}/send", json={"payload": {"done": True}})
    assert answer.status_code == 200


async def _all_cut(http: httpx2.AsyncClient, fat: str, connections: list[socket.socket]) -> tuple[int, int]:
    """Go on changing what the frozen watch until all of them are cut; how many are, after how many."""
    more = 0
    deadline = asyncio.get_running_loop().time() + GIVE_UP_SECS
    while (cut := sum(map(is_cut, connections))) < len(connections):
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.25)
        await _change(http, [fat], 5000 + more)
        more += 1
    return cut, more


def _faults(reader: Reader, changes: int) -> list[str]:
    what = reader.request.split(b" ")[1].decode()
    if reader.status != 200 or not reader.ended_well:
        return [f"{what}: status {reader.status}, broken off after {reader.versions}"]
    if reader.versions != list(range(1, changes + 3)):
        return [f"{what}: of {changes} changes came {reader.versions}"]
    if reader.frames[-1][1]["status"] != "received":
        return [f"{what}: ended without its end"]
    return []
