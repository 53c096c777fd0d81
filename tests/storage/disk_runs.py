"""Runs of a real store on the disk of the tests, each in a process of its own:

    python -m tests.storage.disk_runs power-cuts FOLDER CUTS SEED
    python -m tests.storage.disk_runs lying-disk FOLDER CUTS SEED
    python -m tests.storage.disk_runs faults FOLDER full|error|sync

The last line of the output is a JSON object of what was seen; whoever starts it judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from narrows.core.states import TriggerStatus
from narrows.errors import OutcomeUnknown, StorageError, Unavailable
from narrows.storage import checkpoint
from narrows.storage.verify import verify
from narrows.testing import ManualClock
from tests.storage.disk import FULL, IO_SYNC, IO_WRITE, OK, Disk, Image
from tests.storage.kit import Bench, SqliteBackend, opened

WAITS = 60
PAYLOAD = '"' + "p" * 1_500 + '"'


async def _story(bench: Bench, disk: Disk, number: int) -> None:
    """One wait's life; every acknowledgement is recorded when it comes."""
    key = f"k{number}"
    await bench.open(key, 0)
    disk.acknowledged(2 * number)
    await bench.send(key, PAYLOAD.replace("p", str(number % 10), 1))
    disk.acknowledged(2 * number + 1)


async def _record(folder: Path, disk: Disk) -> dict[str, bytes]:
    """Run the workload under constant checkpoints; answers the files as they stood before it. None runs
    until both have been read, or they would be of two moments."""
    checkpoint._PASSIVE_PAGES = 1 << 30
    async with opened(SqliteBackend(folder)) as bench:
        start = {file: _bytes(folder, file) for file in ("db", "wal")}
        disk.events.clear()
        checkpoint._PASSIVE_PAGES = 20
        numbers = iter(range(WAITS))

        async def worker() -> None:
            for number in numbers:
                await _story(bench, disk, number)

        await asyncio.gather(*(worker() for _ in range(3)))
        recorded = list(disk.events)
    disk.events = recorded
    return start


def _bytes(folder: Path, file: str) -> bytes:
    path = folder / ("narrows.db" if file == "db" else "narrows.db-wal")
    return path.read_bytes() if path.exists() else b""


def power_cuts(folder: Path, cuts: int, seed: int, *, lying: bool = False) -> dict[str, Any]:
    """`lying`: the disk says that it has synced and has not; then something must be lost."""
    checkpoint._PAUSE_SECS = 0.001
    checkpoint._RESTART_PAGES = 128
    disk = Disk()
    disk.install()
    live = folder / "live"
    live.mkdir()
    start = asyncio.run(_record(live, disk))
    # What the disk of one cut goes through is not part of the record of the run.
    events, disk.events = disk.events, []
    source = random.Random(seed)
    lost: list[str] = []
    faults: list[str] = []
    moments = sorted(source.randrange(len(events)) for _ in range(cuts))
    image, taken = Image(start), 0
    for cut, moment in enumerate(moments):
        while taken <= moment:
            if not (lying and events[taken].kind == "sync"):
                image.take(taken, events[taken])
            taken += 1
        after = folder / f"cut{cut}"
        after.mkdir()
        for file, content in image.cut(source).items():
            (after / ("narrows.db" if file == "db" else "narrows.db-wal")).write_bytes(content)
        try:
            lost += asyncio.run(_lost(after, image.acknowledged))
        except StorageError as error:
            lost.append(f"everything: {error}")
        faults += verify(after / "narrows.db")
    kinds = {f"{event.kind} {event.file}".strip() for event in events}
    return {
        "cuts": len(moments),
        "lost": lost,
        "faults": faults,
        "kinds": sorted(kinds),
        "events": len(events),
    }


async def _lost(folder: Path, acknowledged: set[int]) -> list[str]:
    """What was acknowledged and is not there after the recovery; and the store must go on."""
    lost = []
    async with opened(SqliteBackend(folder), ManualClock(seed=7)) as bench:
        triggers = {trigger.event_key: trigger for trigger in await bench.listed()}
        for number in sorted(acknowledged):
            trigger = triggers.get(f"k{number // 2}")
            payload = PAYLOAD.replace("p", str(number // 2 % 10), 1)
            if trigger is None:
                lost.append(f"k{number // 2} is gone")
            elif number % 2 and (trigger.status, trigger.response_payload) != (
                TriggerStatus.RECEIVED,
                payload,
            ):
                lost.append(f"k{number // 2} is {trigger.status}")
        await bench.open("after", 0)
        await bench.send("after", "1")
    return lost


# ---- disk full, I/O errors, failed syncs -------------------------------------------------------


async def _with_fault_at(folder: Path, kind: str, n: int) -> dict[str, Any]:
    """The workload with one failing disk operation, the n-th; from it on all fail until healed."""
    disk = RUN_DISK
    count = 0
    armed = False

    def fault(operation: str, file: str) -> int:
        nonlocal count
        if not armed or operation != ("sync" if kind == "sync" else "write"):
            return OK
        count += 1
        return {"full": FULL, "error": IO_WRITE, "sync": IO_SYNC}[kind] if count >= n else OK

    disk.fault = fault
    fatal: list[str] = []
    seen: dict[str, Any] = {"acknowledged": [], "unavailable": 0, "unknown": 0, "reads": 0, "healed": False}
    async with opened(SqliteBackend(folder), on_fatal=fatal.append) as bench:
        armed = True
        await _workload(bench, seen)
        seen["hit"] = count >= n
        seen["reads"] = len(await bench.listed())
        armed = False
        while seen["unknown"] and not fatal:
            await asyncio.sleep(0)  # whoever asked is answered a moment before the process is told to end
        if not fatal:
            await bench.open("healed", 0)
            await bench.send("healed", "1")
            seen["healed"] = True
    seen["fatal"] = len(fatal)
    return seen


async def _workload(bench: Bench, seen: dict[str, Any]) -> None:
    for number in range(6):
        key = f"k{number}"
        for step in ("open", "send"):
            try:
                if step == "open":
                    await bench.open(key, 0)
                else:
                    await bench.send(key, PAYLOAD)
                seen["acknowledged"].append(f"{step} {key}")
            except Unavailable:
                seen["unavailable"] += 1
                break
            except OutcomeUnknown:
                seen["unknown"] += 1
                break


async def _missing(folder: Path, acknowledged: list[str]) -> list[str]:
    async with opened(SqliteBackend(folder)) as bench:
        triggers = {trigger.event_key: trigger for trigger in await bench.listed()}
    missing = []
    for text in acknowledged:
        step, key = text.split()
        found = triggers.get(key)
        if found is None or (step == "send" and found.status != TriggerStatus.RECEIVED):
            missing.append(text)
    return missing


RUN_DISK = Disk()


def faults(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Fail at the first write, the second, ... until the workload no longer reaches so many."""
    RUN_DISK.install()
    runs: list[dict[str, Any]] = []
    n = 0
    while True:
        n += 1
        place = folder / f"{kind}{n}"
        place.mkdir()
        seen = asyncio.run(_with_fault_at(place, kind, n))
        RUN_DISK.fault = lambda operation, file: OK
        RUN_DISK.events.clear()
        seen["missing"] = asyncio.run(_missing(place, seen["acknowledged"]))
        seen["faults"] = verify(place / "narrows.db")
        if not seen["hit"]:
            return runs
        runs.append(seen)


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "faults":
        result: Any = faults(folder, sys.argv[3])
    else:
        result = power_cuts(folder, int(sys.argv[3]), int(sys.argv[4]), lying=what == "lying-disk")
    print(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
