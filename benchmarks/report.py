"""The table of results: one row per target, printed as it is measured and written to RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.places import ROOT
from benchmarks.server import ENVIRONMENT

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Results

Written by `make bench` (1 million waits) and `make bench-full` (10 million). Medians of the runs, with the
lowest and highest in brackets. The load comes from `wrk` on the same machine and shares its cores, as does
PostgreSQL; rows marked *client* come from a small Python client that makes hardly any load. Each run has a
fresh copy of a prepared database; every send is durable (`synchronous=FULL`; PostgreSQL with `fsync` and
`synchronous_commit` on) and settles a wait of its own.

On PostgreSQL a run begins right after a checkpoint, so that most random sends write a page to the log as
a whole. With two nodes the load is split between them, half of the connections each; there are no targets for it.

The no-op is `POST /bench/noop`: the path of a send through the framework, authentication, decoding of the
body and a reply of the same size, without the operation. It is there in the benchmark's server only.

Round trips and statements are those of the writers' connections, as the server itself counts them
(`narrows_database_calls_total`, `narrows_database_statements_total`).
"""


class Spread(NamedTuple):
    """A figure from several runs."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    def __str__(self) -> str:
        low, high = figure(min(self.runs)), figure(max(self.runs))
        return f"{figure(self.median)} ({low}-{high})" if len(self.runs) > 1 else figure(self.median)


class Row(NamedTuple):
    """One line of the table: what was measured and where. `met` None: no target hangs on it."""

    what: str
    place: str
    target: str
    measured: str
    met: bool | None = None
    note: str = ""


def figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def line(row: Row) -> str:
    verdict = {None: "", True: "met", False: "**missed**"}[row.met]
    return f"| {row.what} | {row.place} | {row.target} | {row.measured} | {verdict} | {row.note} |"


class Table:
    """Collects rows and prints each as soon as it is known."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.profile: list[str] = []
        #: (what, place) -> a figure that another place is compared with.
        self.figures: dict[tuple[str, str], float] = {}

    @property
    def lines(self) -> list[str]:
        """The rows of one thing stand together, in the order in which things were first measured."""
        order = {what: number for number, what in enumerate(dict.fromkeys(row.what for row in self.rows))}
        return [line(row) for row in sorted(self.rows, key=lambda row: order[row.what])]

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(line(row), flush=True)


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_kib = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    name = model[1] if model else platform.processor()
    gib = int(memory_kib[1]) / 1024**2 if memory_kib else 0
    python = f"Python {platform.python_version()} at {sys.base_prefix}"
    return f"{os.cpu_count()} x {name}, {gib:.0f} GiB, {python}, {platform.system()} {platform.release()}"


def commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def bare(per_sec: float) -> str:
    """What the machine answers at all (`bare.py`), beside what it was where the targets were set."""
    return f"a bare ASGI application answers {per_sec:,.0f}/s (51,000 to 55,000 where the targets were set)"


def write(table: Table, rows: int, head: Sequence[str]) -> None:
    """Put this run's section into RESULTS.md. The section of the other size stays, and what was written by hand behind
    them. `head` is what was measured, where and how."""
    settings = ", ".join(f"`{name}={value}`" for name, value in ENVIRONMENT.items())
    section = [
        f"## {rows:,} waits",
        "",
        *(f"- {each}" for each in head),
        f"- Settings: the defaults, access log included, but for the bounds of one project: {settings}",
        "",
        "| what | on | target | measured | verdict | note |",
        "| --- | --- | --- | --- | --- | --- |",
        *table.lines,
        "",
        *table.profile,
    ]
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    sections = dict(re.findall(r"<!-- (\d+) -->\n(.*?)<!-- end -->\n", text, re.DOTALL))
    by_hand = text.rpartition("<!-- end -->\n")[2] if sections else ""
    sections[str(rows)] = "\n".join(section).rstrip() + "\n"
    parts = [f"\n<!-- {size} -->\n{sections[size]}<!-- end -->\n" for size in sorted(sections, key=int)]
    RESULTS.write_text(HEAD + "".join(parts) + by_hand)
