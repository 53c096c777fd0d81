"""`python -m tests.simulation`: one seed again, or a campaign of fresh ones.

python -m tests.simulation --seed 4711            replay one, with its trail
python -m tests.simulation --seeds 20000          a campaign from a fresh base seed
python -m tests.simulation --seeds 5000 --with-runs
python -m tests.simulation --seeds 2000 --with-workflows
python -m tests.simulation --seeds 300 --bug null_is_timeout
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import traceback
from collections.abc import Sequence

from tests.simulation.character import EVERY_SEED_WITH_RUNS, EVERY_SEED_WITH_WORKFLOWS
from tests.simulation.workflow_bugs import BUGS
from tests.simulation.world import World


def run_seed(seed: int) -> World:
    """Run one seed to its end; returns the world. The error of a failing one says how to replay it."""
    world = World(seed)
    try:
        world.result = world.run()
    except BaseException as error:
        error.add_note(f"replay: python -m tests.simulation --seed {seed}")
        error.add_note("\n".join(world.told()[-12:]))
        raise
    return world


def campaign(base: int, count: int, step: int = 1) -> dict[str, int]:
    """Run `count` seeds from `base` on, each `step`-th; returns what they added up to."""
    total = {"seeds": 0, "crashes": 0, "commits": 0, "runs": 0, "workflow runs": 0}
    for seed in range(base - base % step, base - base % step + count * step, step):
        world = run_seed(seed)
        total["seeds"] += 1
        total["crashes"] += world.crashes
        total["commits"] += world.commits
        total["runs"] += len(world.model.runs)
        total["workflow runs"] += len(world.model.workflow_runs)
    return total


def fresh_base() -> int:
    return int.from_bytes(os.urandom(5), "big") * 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, help="replay this seed and print its trail")
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds")
    parser.add_argument("--base", type=int, help="the first seed (default: a fresh one)")
    parser.add_argument("--with-runs", action="store_true", help="of every three seeds the one with runs")
    parser.add_argument("--with-workflows", action="store_true", help="of every 24 the one with workflows")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with this bug planted")
    options = parser.parse_args(arguments)
    with BUGS[options.bug]() if options.bug else contextlib.nullcontext():
        if options.seed is not None:
            return replay(options.seed)
        base = fresh_base() if options.base is None else options.base
        print(f"{options.seeds} seeds from base seed {base}", flush=True)
        started = time.perf_counter()
        step = EVERY_SEED_WITH_RUNS if options.with_runs else 1
        total = campaign(base, options.seeds, EVERY_SEED_WITH_WORKFLOWS if options.with_workflows else step)
        took_secs = time.perf_counter() - started
        print(f"{total} in {took_secs:.1f} s, {1000 * took_secs / options.seeds:.1f} ms a seed; no violation")
    return 0


def replay(seed: int) -> int:
    world = World(seed)
    world.remember_all()
    try:
        print("digest", world.run())
        return 0
    except Exception as error:
        print("\n".join(world.told()))
        traceback.print_exception(error, file=sys.stdout)
        return 1
    finally:
        print(f"{world.commits} commits, {world.crashes} crashes, {world.loop.turns} turns")


if __name__ == "__main__":
    sys.exit(main())
