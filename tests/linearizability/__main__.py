"""`python -m tests.linearizability [--histories N] [--seed N] [--database sqlite|postgres|URL]
[--nodes N] [--kills] [--campaign]`: histories of real servers, recorded and checked for as long as wanted.
With `--bugs` all planted bugs are hunted instead."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.linearizability.campaign import run
from tests.linearizability.nodes import NODES, POSTGRES, SQLITE
from tests.linearizability.planted_bugs import hunt

CAMPAIGN_HISTORIES = 5_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.linearizability")
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument(
        "--database", default=SQLITE, help="sqlite, postgres (a fresh one of the tests), or a URL"
    )
    parser.add_argument("--nodes", type=int, help="servers on that database, 3 if it is PostgreSQL")
    parser.add_argument("--kills", action="store_true", help="SIGKILL servers meanwhile")
    parser.add_argument("--campaign", action="store_true", help=f"{CAMPAIGN_HISTORIES:,} histories")
    parser.add_argument("--bugs", action="store_true", help="hunt the planted bugs")
    asked = parser.parse_args()
    if asked.bugs:
        return bugs()
    histories = CAMPAIGN_HISTORIES if asked.campaign else asked.histories
    nodes = asked.nodes or NODES.get(asked.database, NODES[POSTGRES])
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = run(
            Path(folder), histories, asked.seed, database=asked.database, nodes=nodes, kills=asked.kills
        )
    print(
        f"{report.histories:,} histories of {report.operations:,} operations in {time.monotonic() - began:.0f} s,"
        f" seed {asked.seed}, {asked.database} with {nodes} nodes, {len(report.kills)} kills: {report.unknown:,} unknown outcomes,"
        f" waits ended as {dict(report.ended)}; at most {report.most_explored:,} situations tried for one"
    )
    for fault in report.faults:
        print(fault)
    print(f"{len(report.faults)} faults")
    return 1 if report.faults else 0


def bugs() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = hunt(Path(folder))
    for name, histories in found.items():
        print(f"{name}: " + (f"found after {histories} histories" if histories else "NOT FOUND"))
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
