"""`python -m tests.fuzz [--cases N] [--seed N] [--campaign]`: requests made up from the document."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import OPERATIONS, fuzz

CAMPAIGN_CASES = 50_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--campaign", action="store_true", help=f"{CAMPAIGN_CASES:,} cases")
    asked = parser.parse_args()
    cases = CAMPAIGN_CASES if asked.campaign else asked.cases
    with tempfile.TemporaryDirectory() as folder:
        code, said = fuzz(Path(folder), -(-cases // OPERATIONS), asked.seed)
    print(said)
    print(f"at least {cases:,} cases, seed {asked.seed}: {'FAILED' if code else 'no failure'}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
