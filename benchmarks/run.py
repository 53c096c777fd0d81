"""The one command: prepares the databases, runs the measurements, writes RESULTS.md.

    python -m benchmarks.run --rows 1000000 [--database sqlite|postgres|both] [--nodes 1 2]
                             [--only sends lonely] [--runs 3] [--secs 3]

With `--only`, or not on both databases, the table is printed and not written, unless `--write` asks for it.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from benchmarks import bare, prepare, report
from benchmarks.databases import Database, Postgres, Sqlite
from benchmarks.keys import key_files, sync_milliseconds
from benchmarks.measurements import MEASUREMENTS, ON_TWO_NODES
from benchmarks.places import ROOT, WORK
from benchmarks.setting import Setting

FEW = 50_000
DATABASES: dict[str, tuple[type[Database], ...]] = {
    "sqlite": (Sqlite,),
    "postgres": (Postgres,),
    "both": (Sqlite, Postgres),
}


def settings(given: argparse.Namespace) -> Iterator[Setting]:
    """Each database with one node, and PostgreSQL with two."""
    table, keys, few_keys = report.Table(), key_files(given.rows), key_files(FEW)
    secs = given.secs or (2 if given.database == "both" else 3)
    for kind in DATABASES[given.database]:
        database = kind()
        big, small, empty = (prepare.waits(database, rows) for rows in (given.rows, FEW, 0))
        for nodes in given.nodes if database.is_shared else [1]:
            yield Setting(
                table, database, nodes, given.rows, big, small, empty, keys, few_keys, given.runs, secs
            )


@contextmanager
def alone() -> Iterator[None]:
    """Two at once would measure each other, and have the same files."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit("another benchmark is running in this checkout") from None
        yield


def _command(arguments: list[str]) -> str:
    """What was typed, for the table: a `make` target only when it was nothing more."""
    target = {"--rows 1000000": "make bench", "--rows 10000000": "make bench-full"}.get(" ".join(arguments))
    return target or shlex.join(["python", "-m", "benchmarks.run", *arguments])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=DATABASES, default="both")
    parser.add_argument("--nodes", type=int, nargs="+", choices=(1, 2), default=[1, 2], help="on PostgreSQL")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--secs", type=int, help="of each run; 3, or 2 where both databases are measured")
    parser.add_argument("--only", nargs="+", choices=sorted(MEASUREMENTS), default=list(MEASUREMENTS))
    parser.add_argument("--write", action="store_true", help="write RESULTS.md in any case")
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    # Whoever is told to end stops his servers first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with alone():
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """Run what was asked for and print it; write it where it is the whole."""
    began, busy = time.perf_counter(), os.getloadavg()[0]
    places = list(settings(given))
    bare_per_sec = bare.per_sec()
    print(f"{report.machine()}, commit {report.commit()}; {report.bare(bare_per_sec)}", flush=True)
    for name in MEASUREMENTS:
        for setting in places if name in given.only else []:
            if setting.nodes == 1 or name in ON_TWO_NODES:
                MEASUREMENTS[name](setting)
    minutes = (time.perf_counter() - began) / 60
    print(f"{minutes:.1f} minutes")
    whole = given.database == "both" and given.nodes == [1, 2] and len(given.only) == len(MEASUREMENTS)
    if given.write or whole:
        command = _command(sys.argv[1:])
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        servers = dict.fromkeys(text for place in places for text in place.database.described)
        head = [
            f"Command: `{command}`, {minutes:.1f} minutes, finished {when}",
            f"Commit: `{report.commit()}`",
            f"Machine: {report.machine()}; one durable write of 4 KiB takes {sync_milliseconds():.2f} ms (median); {report.bare(bare_per_sec)}",
            f"Load average before the start: {busy:.2f} (a quiet machine has 0; other work takes its share of every figure)",
            *servers,
        ]
        report.write(places[0].table, given.rows, head)
        print(f"written to {report.RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
