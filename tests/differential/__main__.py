"""`python -m tests.differential`: one random sequence through the model and every database.

python -m tests.differential --seed 4711 --steps 1200    one sequence again
python -m tests.differential --steps 500000              a campaign of sequences from a fresh seed
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.differential.sequence import EVERY, Found, Report, examine
from tests.differential.shrinking import shrink
from tests.storage.kit import BACKENDS

#: A campaign is cut into sequences of so many steps, so that one that fails can be run again in a minute.
A_SEQUENCE = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=5_000, help="how many steps in all")
    parser.add_argument("--seed", type=int, help="of the first sequence (default: a fresh one)")
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=list(BACKENDS))
    parser.add_argument("--every", type=int, default=EVERY, help="after so many steps everything is compared")
    parser.add_argument("--shrink-secs", type=float, default=60, help="to look for fewer steps that fail too")
    asked = parser.parse_args(arguments)
    seed = int.from_bytes(os.urandom(4), "big") if asked.seed is None else asked.seed
    print(f"{asked.steps:,} steps from seed {seed}, the model and {', '.join(asked.backends)}", flush=True)
    began, total = time.perf_counter(), Report()
    try:
        while total.steps < asked.steps:
            steps = min(A_SEQUENCE, asked.steps - total.steps)
            total.add(examine(seed, steps, asked.backends, every=asked.every))
            seed += 1
    except Found as found:
        print(found, flush=True)
        few = shrink(found, asked.backends, secs=asked.shrink_secs)
        print(f"\n{len(few.steps)} of these {len(found.steps)} steps suffice: {few.problem}\n")
        print("\n".join(map(str, few.steps)))
        return 1
    finally:
        print(_told(total, time.perf_counter() - began))
    return 0


def _told(total: Report, took_secs: float) -> str:
    each_ms = 1_000 * took_secs / max(1, total.steps)
    return "\n".join(
        (
            f"{total.steps:,} steps, {total.commits:,} commits in {took_secs:.1f} s, {each_ms:.2f} ms a step",
            f"operations: {_counts(total.operations)}",
            f"commits begun again: {_counts(+total.begun_again) or 'none'}",
            f"refused: {_counts(total.refused)}",
            f"reads: {_counts(total.reads)}",
        )
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


if __name__ == "__main__":
    sys.exit(main())
