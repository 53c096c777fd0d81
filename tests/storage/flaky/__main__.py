"""`python -m tests.storage.flaky [--percent N ...] [--seed N]`: the functional suites on PostgreSQL, with so many
of a hundred database calls going wrong."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

SUITES = ("tests/storage/conformance", "tests/operations")
PERCENTS = (1, 5, 20)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storage.flaky")
    parser.add_argument("--percent", type=int, nargs="+", default=PERCENTS)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    failed = 0
    for percent in asked.percent:
        environment = {
            **os.environ, "NARROWS_FLAKY": str(percent), "NARROWS_FLAKY_SEED": str(asked.seed),
        }  # fmt: skip
        command = ["pytest", "-n", "0", "-p", "tests.storage.flaky.plugin", "-k", "postgres", *SUITES]
        failed += bool(
            subprocess.run([sys.executable, "-m", *command], env=environment, check=False).returncode
        )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
