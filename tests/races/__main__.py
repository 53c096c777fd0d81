"""`python -m tests.races [--races N] [--seed N] [--database sqlite|postgres] [--campaign]`: races for one trigger, for as long as wanted."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.races.run import run
from tests.storage.databases import DATABASES, configured

CAMPAIGN_RACES = 50_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.races")
    parser.add_argument("--races", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--campaign", action="store_true", help=f"{CAMPAIGN_RACES} races")
    asked = parser.parse_args()
    races = CAMPAIGN_RACES if asked.campaign else asked.races
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, configured(asked.database, Path(folder)) as config:
        report = asyncio.run(run(config, races, asked.seed))
    print(
        f"{races} races on {asked.database} in {time.monotonic() - began:.0f} s, seed {asked.seed}: {dict(report.wins)}"
    )
    for line in report.faults[:50]:
        print(line)
    print(f"{len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
