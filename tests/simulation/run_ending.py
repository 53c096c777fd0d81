"""What has to be true of the runs once a run of the simulation has come to rest."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.simulation.run_values import ENDED, SECOND_US
from tests.simulation.server import database
from tests.simulation.values import DAY_US, Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

#: After the last fault everything that can end has ended within so long: leases, pauses, attempts.
LONGEST_END_US = 900 * SECOND_US
#: From then on every endpoint and worker is idle again, and takes up at once what is queued.
IDLE_AFTER_US = 100 * SECOND_US
PUSHED_WITHIN_US = SECOND_US
FETCHED_WITHIN_US = SECOND_US

_ENDS = {
    "run.completed": "completed",
    "run.failed": "failed",
    "run.timed_out": "timed_out",
    "run.canceled": "canceled",
    "run.dead_lettered": "dead_letter",
}


def check_runs(world: World) -> None:
    for run in world.model.runs.values():
        if not run.has_ended and (run.status != "waiting" or run.job.is_deleted):
            raise Violation(f"{run} is {run.status} for ever")
    _check_facts(world)
    _check_pace(world)


def _check_facts(world: World) -> None:
    """Of each run one unbroken chain with one end at most, and each wait went on exactly once."""
    facts: dict[str, list[Any]] = {}
    for row in database().raw.execute(
        "select subject_id, id, previous_id, kind, version from facts where kind like 'run.%' order by id"
    ):
        facts.setdefault(row[0], []).append(row)
    oldest_kept = world.clock.now() - 29 * DAY_US
    for run in world.model.runs.values():
        if run.created_at < oldest_kept:
            continue
        chain = facts.get(run.id, [])
        if [row[4] for row in chain] != list(range(1, run.version + 1)):
            raise Violation(f"{run} has the facts {chain}")
        if [row[2] for row in chain] != [None, *(row[1] for row in chain[:-1])]:
            raise Violation(f"{run}: the chain of its facts is broken: {chain}")
        kinds = [row[3] for row in chain]
        if [_ENDS[kind] for kind in kinds if kind in _ENDS] != [run.status] * (run.status in ENDED):
            raise Violation(f"{run} was ended by {kinds}")
        if kinds.count("run.dispatched") != run.dispatch:
            raise Violation(f"{run} was dispatched by {kinds}")
        after_waits = [after for kind, after in pairwise(kinds) if kind == "run.waiting"]
        odd = [kind for kind in after_waits if kind not in ("run.resumed", "run.timed_out", "run.canceled")]
        if odd or kinds.count("run.resumed") != after_waits.count("run.resumed"):
            raise Violation(f"{run} did not go on exactly once after each wait: {kinds}")


def _check_pace(world: World) -> None:
    """No run lies queued beside somebody who would take it."""
    for run_id, is_pushed, queued_at, handed_out_at in world.model.handed_out:
        within_us = PUSHED_WITHIN_US if is_pushed else FETCHED_WITHIN_US
        if queued_at > world.calm_at + IDLE_AFTER_US and handed_out_at > queued_at + within_us:
            raise Violation(f"the run {run_id} lay queued from {queued_at} to {handed_out_at}")
