"""Checkouts of this project against one another: their servers run side by side, and wrk asks one after the other
for a second each, there and back again. So what one differs from the other shows on a machine that is not quiet,
too: absolute times do not count there, the ratios of neighbouring runs do. What is printed of them is their
geometric mean and its standard error.

`python -m benchmarks.in_turn ../before . --database postgres --pairs 6`; each checkout has its own `.venv`, the
schema and the benchmark are this one's.
"""

from __future__ import annotations

import argparse
import math
import statistics
from contextlib import ExitStack
from pathlib import Path

from benchmarks import load, prepare, report, run
from benchmarks.databases import Database, Postgres, Sqlite
from benchmarks.keys import key_files
from benchmarks.load import Load, Part
from benchmarks.places import WORK
from benchmarks.prepare import API_KEY
from benchmarks.server import Server

DATABASES: dict[str, type[Database]] = {"sqlite": Sqlite, "postgres": Postgres}
#: What is asked for: (mode of wrk, the keys that are sent to, connections).
MODES = {
    "noop": ("noop", "", 64),
    "random": ("send", "shuffled", 64),
    "order": ("send", "ordered", 64),
    "lonely": ("send", "shuffled", 1),
    "opens": ("open", "", 64),
}
#: A key that was asked for may have been sent although its reply was not counted.
SPARE_KEYS = 600


class Side:
    """The server of one checkout, and which keys it has not been sent yet."""

    def __init__(self, server: Server, keys: dict[str, Path]) -> None:
        self._server = server
        self._keys = keys
        self._used = dict.fromkeys(keys, 0)

    def run(self, name: str, secs: int) -> Load:
        mode, which, connections = MODES[name]
        part = Part(self._keys[which], self._used[which], 10**9) if which else None
        done = load.run(self._server, API_KEY, mode, secs=secs, connections=connections, keys=part)
        if which:
            self._used[which] += done.requests + SPARE_KEYS
        return done


def _keys(rows: int) -> dict[str, Path]:
    """The first half of the waits in their order, the other half at random."""
    files = key_files(rows)
    first = files.ordered.read_text().split()[: rows // 2]
    in_order = set(first)
    others = [key for key in files.shuffled.read_text().split() if key not in in_order]
    made = {"ordered": WORK / "in-turn-ordered.txt", "shuffled": WORK / "in-turn-shuffled.txt"}
    made["ordered"].write_text("\n".join(first) + "\n")
    made["shuffled"].write_text("\n".join(others) + "\n")
    return made


def _print(name: str, checkouts: list[Path], found: list[list[Load]]) -> None:
    for checkout, runs in zip(checkouts, found, strict=True):
        logs = [math.log(one.per_sec / first.per_sec) for one, first in zip(runs, found[0], strict=True)]
        error = statistics.stdev(logs) / math.sqrt(len(logs))
        rate, p50, p99 = (
            statistics.median(getattr(one, what) for one in runs) for what in ("per_sec", "p50_ms", "p99_ms")
        )
        print(
            f"{name:8} {checkout.name:16} {rate:7.0f}/s  p50 / p99 {p50:6.2f} / {p99:6.2f} ms  "
            f"{math.exp(statistics.mean(logs)):.2f} +- {error:.2f} times the first",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure checkouts against one another.", usage="%(prog)s CHECKOUT CHECKOUT... [options]"
    )
    parser.add_argument("checkouts", nargs="+", type=lambda text: Path(text).resolve())
    parser.add_argument("--database", choices=sorted(DATABASES), default="sqlite")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--secs", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=sorted(MODES), default=list(MODES))
    given = parser.parse_args()
    if given.pairs < 2:
        parser.error("one pair says nothing about how far pairs differ: --pairs 2 or more")
    with run.alone():
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """Run what was asked for and print it, name by name."""
    database = DATABASES[given.database]()
    prepared, keys = prepare.waits(database, given.rows), _keys(given.rows)
    print(report.machine(), flush=True)
    with ExitStack() as stack:
        sides = [
            Side(
                stack.enter_context(
                    Server(database.fresh(prepared, f"_{number}"), checkout=checkout, first=10 + number)
                ),
                keys,
            )
            for number, checkout in enumerate(given.checkouts)
        ]
        for side in sides:
            side.run("random", 1)
        for name in given.only:
            found: list[list[Load]] = [[] for _ in sides]
            for pair in range(given.pairs):
                there = list(zip(sides, found, strict=True))
                for side, runs in there if pair % 2 == 0 else reversed(there):
                    runs.append(side.run(name, given.secs))
            _print(name, given.checkouts, found)


if __name__ == "__main__":
    main()
