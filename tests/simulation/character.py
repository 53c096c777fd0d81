"""What one seed is like: how many clients there are, what they do most, on how few keys and jobs they meet,
how often all of them go on in the same moment. An average of all that would hardly ever reach what
a narrow world reaches soon; so each seed has a character of its own, drawn from its chance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple

from tests.simulation.clients import KEYS, MIX, PAYLOADS, PROJECTS
from tests.simulation.starters import JOBS, STARTER_MIX
from tests.simulation.workflow_clients import WORKFLOW_MIX, WORKFLOW_PAYLOADS

#: Every third seed has runs, with what clients do beside them; the others have clients alone.
EVERY_SEED_WITH_RUNS = 3
#: Of these every eighth one has workflows too.
EVERY_SEED_WITH_WORKFLOWS = 24

#: (clients, requests of each): the more there are, the more of them share a commit.
CROWDS = ((2, 21), (3, 14), (6, 7))


class Character(NamedTuple):
    """Drawn once for a seed; everybody in its world goes by it."""

    has_runs: bool
    has_workflows: bool
    clients: int
    #: Of each client.
    requests: int
    #: So many claim runs in each project.
    workers: int
    projects: tuple[str, ...]
    keys: tuple[str, ...]
    jobs: tuple[str, ...]
    #: Request -> weight.
    mix: Mapping[str, float]
    #: How often somebody goes on at the next stroke of the clock, with whoever does too.
    strikes: float
    #: What events carry, and what runs give back.
    payloads: tuple[str | None, ...]


def character_of(seed: int) -> Character:
    rng, has_runs = random.Random(f"{seed} character"), seed % EVERY_SEED_WITH_RUNS == 0
    has_workflows = seed % EVERY_SEED_WITH_WORKFLOWS == 0
    clients, requests = rng.choice(CROWDS)
    mix = WORKFLOW_MIX if has_workflows else STARTER_MIX if has_runs else MIX
    return Character(
        has_runs,
        has_workflows,
        clients,
        requests,
        workers=rng.choice((1, 1, 2, 3)) if has_runs else 0,
        projects=rng.choice((PROJECTS, PROJECTS[:1])),
        keys=tuple(rng.sample(KEYS, rng.choice((2, 4, len(KEYS))))),
        jobs=tuple(rng.sample(list(JOBS), rng.choice((1, 2, len(JOBS))))),
        mix={name: weight * rng.choice((0.3, 1, 1, 3)) for name, weight in mix.items()},
        strikes=rng.choice((0.0, 0.3, 0.7)),
        payloads=WORKFLOW_PAYLOADS if has_workflows else PAYLOADS,
    )
