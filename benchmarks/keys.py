"""The files of keys that the load generator sends to, and what a durable write costs on the disk they are on."""

from __future__ import annotations

import os
import random
import statistics
import time
from pathlib import Path

from benchmarks.places import WORK
from benchmarks.setting import Keys

#: More than any run can send: 15 s at 40,000 a second.
MOST_KEYS = 600_000


def key_files(rows: int) -> Keys:
    """Keys spread over all waits in random order, and the first ones in the order of their insert."""
    shuffled, ordered = WORK / f"keys-{rows}-shuffled.txt", WORK / f"keys-{rows}-ordered.txt"
    count = min(rows, MOST_KEYS)
    _write_keys(shuffled, random.Random(rows).sample(range(rows), count))
    _write_keys(ordered, list(range(count)))
    return Keys(shuffled, ordered)


def shuffled_keys(prefix: str, count: int) -> Path:
    """The file of all keys under another prefix, in random order."""
    path = WORK / f"{prefix}-keys-{count}.txt"
    _write_keys(path, random.Random(count).sample(range(count), count), prefix)
    return path


def _write_keys(path: Path, numbers: list[int], prefix: str = "wait") -> None:
    path.write_text("".join(f"{prefix}:{number:09}\n" for number in numbers))


def sync_milliseconds() -> float:
    """What a durable write costs on this disk: the floor under every lonely send."""
    path, took = WORK / "sync", []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    for number in range(300):
        began = time.perf_counter()
        os.pwrite(descriptor, bytes(4096), number * 4096)
        os.fdatasync(descriptor)
        took.append((time.perf_counter() - began) * 1000)
    os.close(descriptor)
    path.unlink()
    return statistics.median(took)
