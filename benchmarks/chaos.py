"""`make chaos`: the long campaigns of the tests, one after the other. Each prints its own result; the
command fails if one does. `make chaos ARGS="kill races"` runs some of them.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time

#: Name -> module and what makes it a campaign.
CAMPAIGNS: dict[str, tuple[str, ...]] = {
    "simulation": ("tests.simulation", "--seeds", "20000"),
    "kill": ("tests.kill", "--campaign"),
    "failpoints": ("tests.failpoints", "--campaign"),
    "races": ("tests.races", "--campaign"),
    "disk": ("tests.disk", "--campaign"),
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
        if not _exists(CAMPAIGNS[name][0]):
            print(f"== {name}: there is no such campaign in this checkout", flush=True)
            continue
        print(f"== {name}", flush=True)
        began = time.perf_counter()
        ended = subprocess.run([sys.executable, "-m", *CAMPAIGNS[name]], check=False)
        ran += 1
        failed += [name] if ended.returncode else []
        print(
            f"== {name}: {'FAILED' if ended.returncode else 'ok'}, {time.perf_counter() - began:.0f} s",
            flush=True,
        )
    print(f"{ran - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not ran else 0


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(f"{module}.__main__") is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
