"""What all measurements share: the prepared databases, the keys, how often and how long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Spread, Table
from benchmarks.server import ROOT

WARM_KEYS = 40_000
US = 1_000_000


class Setting(NamedTuple):
    """What all measurements share. `rows` waits are in `big`, 50,000 in `small`."""

    table: Table
    rows: int
    big: Path
    small: Path
    shuffled: Path
    ordered: Path
    shuffled_small: Path
    ordered_small: Path
    runs: int
    secs: int


def spread(values: list[float]) -> Spread:
    return Spread(tuple(values))


def add_waits(
    database: Path, count: int, prefix: str, *, due_at: int = 0, per_sec: float = 0, scattered: bool = False
) -> None:
    """More waits in a database that no server has open; see `prepare.add`."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.prepare",
        "add",
        str(database),
        "--count",
        str(count),
        "--prefix",
        prefix,
    ]
    command += ["--due-at", str(due_at), "--per-sec", str(per_sec), *(["--scattered"] if scattered else [])]
    subprocess.run(command, cwd=ROOT, check=True)
