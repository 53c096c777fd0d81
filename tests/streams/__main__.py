"""`python -m tests.streams [--streams N] [--frozen N] [--rounds N] [--campaign]`: crowds of readers."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.streams.crowd import crowd


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.streams")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--frozen", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--campaign", action="store_true", help="10 rounds")
    asked = parser.parse_args()
    failed = 0
    for number in range(10 if asked.campaign else asked.rounds):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = asyncio.run(crowd(Path(folder), asked.streams, asked.frozen))
        failed += bool(report.faults) or report.cut != report.frozen
        print(
            f"round {number + 1}: {asked.streams} streams, {report.cut} of {report.frozen} frozen ones cut,"
            f" {len(report.faults)} faults, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        for fault in report.faults[:20]:
            print(f"  {fault}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
