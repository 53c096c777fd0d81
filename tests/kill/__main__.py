"""`python -m tests.kill [--runs] [--kills N] [--seed N] [--campaign]`: kills under load, for as long as
wanted; with `--runs` of workers and endpoints too."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from tests.kill import campaign, run_campaign

CAMPAIGN_KILLS = 300


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--runs", action="store_true", help="runs, with as many kills of their executors")
    parser.add_argument("--campaign", action="store_true", help=f"{CAMPAIGN_KILLS} kills")
    asked = parser.parse_args()
    kills = CAMPAIGN_KILLS if asked.campaign else asked.kills
    run = run_campaign.run if asked.runs else campaign.run
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run(Path(folder), kills, asked.seed))
    print(f"{report.kills} kills in {time.monotonic() - began:.0f} s, seed {asked.seed}: {report.counts}")
    print(
        f"first answer after a kill: median {statistics.median(report.restart_secs):.2f} s, most {max(report.restart_secs):.2f} s"
    )
    for line in report.violations:
        print(line)
    print(f"{len(report.violations)} violations")
    return 1 if report.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
