"""`make chaos`: the long campaigns of the tests, one after the other. Each prints its own result; the
command fails if one does. `make chaos ARGS="kill races"` runs some of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

#: Power cuts of the campaign `disk`.
POWER_CUTS = "500"
#: Name -> module and what makes it a campaign.
CAMPAIGNS: dict[str, tuple[str, ...]] = {
    "simulation": ("tests.simulation", "--seeds", "20000"),
    "simulation-workflows": ("tests.simulation", "--with-workflows", "--seeds", "2000"),
    "kill": ("tests.kill", "--campaign"),
    "run-kill": ("tests.kill", "--runs", "--campaign"),
    "workflow-kill": ("tests.kill", "--workflows", "--campaign"),
    "workflow-nodes-kill": ("tests.kill", "--workflows", "--nodes", "--campaign"),
    "nodes-kill": ("tests.kill", "--nodes", "--campaign"),
    "nodes-pause": ("tests.kill", "--pauses", "--campaign"),
    "postgres-crash": ("tests.kill", "--crashes", "--campaign"),
    "postgres-promotion": ("tests.kill", "--promotions", "--campaign"),
    "flaky-database": ("tests.storage.flaky",),
    "races": ("tests.races", "--campaign"),
    "races-postgres": ("tests.races", "--database=postgres", "--campaign"),
    "linearizability": ("tests.linearizability", "--campaign"),
    "linearizability-bugs": ("tests.linearizability", "--bugs"),
    "linearizability-kills": ("tests.linearizability", "--kills", "--histories=1000"),
    "linearizability-postgres": ("tests.linearizability", "--database=postgres", "--campaign"),
    "linearizability-postgres-kills": (
        "tests.linearizability",
        "--database=postgres",
        "--kills",
        "--histories=1000",
    ),
    "differential": ("tests.differential", "--steps", "500000"),
    "disk": ("pytest", "-n", "0", "-q", "tests/storage/test_disk.py"),
    "streams": ("tests.streams", "--campaign"),
    "fuzz": ("tests.fuzz", "--campaign"),
}


def main() -> int:
    wanted = sys.argv[1:] or list(CAMPAIGNS)
    if unknown := [name for name in wanted if name not in CAMPAIGNS]:
        print(f"unknown: {', '.join(unknown)}; known are {', '.join(CAMPAIGNS)}")
        return 2
    failed, ran = [], 0
    for name in wanted:
        print(f"== {name}", flush=True)
        began = time.perf_counter()
        cuts = os.environ.get("NARROWS_POWER_CUTS", POWER_CUTS)
        ended = subprocess.run(
            [sys.executable, "-m", *CAMPAIGNS[name]],
            env={**os.environ, "NARROWS_POWER_CUTS": cuts},
            check=False,
        )
        ran += 1
        failed += [name] if ended.returncode else []
        print(
            f"== {name}: {'FAILED' if ended.returncode else 'ok'}, {time.perf_counter() - began:.0f} s",
            flush=True,
        )
    print(f"{ran - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
