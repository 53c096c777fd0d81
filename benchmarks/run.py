"""The one command: prepares the databases, runs the measurements, writes RESULTS.md.

    python -m benchmarks.run --rows 1000000 [--only sends lonely] [--runs 3] [--secs 3]

With `--only` the table is printed and not written, unless `--write` asks for it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shlex
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.measurements import MEASUREMENTS
from benchmarks.server import ROOT, WORK
from benchmarks.setting import Setting
from narrows.storage.migrations import all_migrations

FEW = 50_000
#: More than any run can send: 15 s at 40,000 a second.
MOST_KEYS = 600_000


def prepared(rows: int) -> Path:
    """The database with that many waits; made once per schema."""
    schema = "".join(migration.checksum for migration in all_migrations())
    maker = Path(__file__).with_name("prepare.py").read_text()
    path = WORK / f"waits-{rows}-{hashlib.sha256((schema + maker).encode()).hexdigest()[:12]}.db"
    if not path.exists() or not (WORK / "empty.db").exists():
        for old in WORK.glob(f"waits-{rows}-*"):
            old.unlink()
        print(f"preparing {rows:,} waits ...", flush=True)
        command = [
            sys.executable,
            "-m",
            "benchmarks.prepare",
            "base",
            "--rows",
            str(rows),
            "--out",
            str(path),
        ]
        subprocess.run(command, cwd=ROOT, check=True)
    return path


def key_files(rows: int) -> tuple[Path, Path]:
    """Keys spread over all waits in random order, and the first ones in the order of their insert."""
    shuffled, ordered = WORK / f"keys-{rows}-shuffled.txt", WORK / f"keys-{rows}-ordered.txt"
    count = min(rows, MOST_KEYS)
    _write_keys(shuffled, random.Random(rows).sample(range(rows), count))
    _write_keys(ordered, list(range(count)))
    return shuffled, ordered


def _write_keys(path: Path, numbers: list[int]) -> None:
    path.write_text("".join(f"wait:{number:09}\n" for number in numbers))


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


def _command(arguments: list[str]) -> str:
    """What was typed, for the table: a `make` target only when it was nothing more."""
    target = {"--rows 1000000": "make bench", "--rows 10000000": "make bench-full"}.get(" ".join(arguments))
    return target or shlex.join(["python", "-m", "benchmarks.run", *arguments])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--secs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=sorted(MEASUREMENTS), default=list(MEASUREMENTS))
    parser.add_argument("--write", action="store_true", help="write RESULTS.md also with --only")
    given = parser.parse_args()
    began, busy = time.perf_counter(), os.getloadavg()[0]
    WORK.mkdir(parents=True, exist_ok=True)
    big, small = prepared(given.rows), prepared(FEW)
    setting = Setting(
        report.Table(),
        given.rows,
        big,
        small,
        *key_files(given.rows),
        *key_files(FEW),
        given.runs,
        given.secs,
    )
    print(f"{report.machine()}, commit {report.commit()}", flush=True)
    for name in MEASUREMENTS:
        if name in given.only:
            MEASUREMENTS[name](setting)
    minutes = (time.perf_counter() - began) / 60
    print(f"{minutes:.1f} minutes")
    if given.write or len(given.only) == len(MEASUREMENTS):
        command = _command(sys.argv[1:])
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        report.write(setting.table, given.rows, command, minutes, when, sync_milliseconds(), busy)
        print(f"written to {report.RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
