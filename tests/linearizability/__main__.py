"""`python -m tests.linearizability [--histories N] [--seed N] [--database sqlite|URL] [--nodes N] [--kills]
[--campaign]`: histories of real servers, recorded and checked for as long as wanted."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.linearizability.campaign import run
from tests.linearizability.nodes import SQLITE

CAMPAIGN_HISTORIES = 5_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.linearizability")
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--database", default=SQLITE, help="sqlite, or the URL of a PostgreSQL database")
    parser.add_argument("--nodes", type=int, default=1, help="servers on that database")
    parser.add_argument("--kills", action="store_true", help="SIGKILL servers meanwhile")
    parser.add_argument("--campaign", action="store_true", help=f"{CAMPAIGN_HISTORIES:,} histories")
    asked = parser.parse_args()
    histories = CAMPAIGN_HISTORIES if asked.campaign else asked.histories
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = run(
            Path(folder), histories, asked.seed, database=asked.database, nodes=asked.nodes, kills=asked.kills
        )
    print(
        f"{report.histories:,} histories of {report.operations:,} operations in {time.monotonic() - began:.0f} s,"
        f" seed {asked.seed}, {asked.nodes} nodes, {len(report.kills)} kills: {report.unknown:,} unknown outcomes,"
        f" waits ended as {dict(report.ended)}; at most {report.most_explored:,} situations tried for one"
    )
    for fault in report.faults:
        print(fault)
    print(f"{len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
