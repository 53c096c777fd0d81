"""What has to be true once a run of the simulation has come to rest, and of the store after every crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narrows.operations.reads.listing import ListTriggers
from narrows.operations.reads.triggers import GetStats
from narrows.storage.statements import for_sqlite
from narrows.storage.verify import CHECKS
from tests.simulation.clients import PROJECTS
from tests.simulation.run_ending import check_runs
from tests.simulation.server import database
from tests.simulation.values import DAY_US, Violation
from tests.simulation.virtual import NEAR_US
from tests.simulation.workflow_ending import check_workflows

if TYPE_CHECKING:
    from tests.simulation.world import World

SECOND_US = 1_000_000
#: Lateness allowed to a time-out while the server runs.
LATE_US = 50_000
#: After a start the role first reads its mark and a page of the index, and each of these reads may take as long as
#: any event of the virtual loop: what falls due meanwhile counts from then.
STARTING_US = 4 * NEAR_US
#: Allowed to what was overdue at a start, and where a write failed.
LATE_AFTER_START_US = 5 * SECOND_US


async def check_the_end(world: World) -> None:
    world.compare()
    verify_store()
    _check_timers(world)
    _check_facts(world)
    check_runs(world)
    check_workflows(world)
    for project_id in PROJECTS:
        await _check_list(world, project_id)
    for client in world.clients:
        client.check_the_end()


def verify_store() -> None:
    """As `narrows verify` looks at a store."""
    for name, meaning in CHECKS.items():
        for row in database().raw.execute(for_sqlite()[name]):
            raise Violation(f"verify: {meaning}: {row}")


def _check_timers(world: World) -> None:
    now = world.clock.now()
    for wait in world.model.waits.values():
        if wait.status == "waiting" and wait.expires_at < now - LATE_US:
            raise Violation(f"{wait} was never timed out; now is {now}")
        in_its_time = wait.status == "timed_out" or (wait.is_sleep and wait.status == "received")
        if in_its_time and _lateness(world, wait.expires_at, wait.settled_at or 0) > 0:
            raise Violation(f"{wait} was timed out too late; lives of the server: {world.lives}")


def _lateness(world: World, due: int, settled_at: int) -> int:
    """By how much a time-out missed what is promised, given when the server was up."""
    for started, ended in world.lives:
        if ended and ended < max(due, started) + LATE_AFTER_START_US:
            continue  # this life was too short to be held to it
        failed = any(due - LATE_AFTER_START_US <= at <= settled_at for at in world.faults.failed_at_us)
        if started < due and not failed:
            return settled_at - max(due, started + STARTING_US) - LATE_US
        return settled_at - max(due, started) - LATE_AFTER_START_US
    return 0


def _check_facts(world: World) -> None:
    """Each settled trigger has exactly one settling fact, and its facts are one unbroken chain."""
    facts: dict[str, list[Any]] = {}
    for row in database().raw.execute(
        "select subject_id, id, previous_id, kind, version from facts where kind like 'trigger.%' order by id"
    ):
        facts.setdefault(row[0], []).append(row)
    oldest_kept = world.clock.now() - 29 * DAY_US
    for wait in world.model.waits.values():
        if wait.requested_at < oldest_kept:
            continue
        chain = facts.get(wait.id, [])
        if [row[4] for row in chain] != list(range(1, wait.version + 1)):
            raise Violation(f"{wait} has the facts {chain}")
        if [row[2] for row in chain] != [None, *(row[1] for row in chain[:-1])]:
            raise Violation(f"{wait}: the chain of its facts is broken: {chain}")
        settling = [row[3] for row in chain if row[3].split(".")[1] in ("received", "timed_out", "canceled")]
        if settling != ([] if wait.status == "waiting" else [f"trigger.{wait.status}"]):
            raise Violation(f"{wait} was settled by {settling}")


async def _check_list(world: World, project_id: str) -> None:
    """The list page by page is what there is, newest first; the statistics are its counts."""
    store, cursor, seen = world.require_server().store, None, []
    while True:
        page = await store.read(ListTriggers(project_id=project_id, limit=2, cursor=cursor))
        seen += [(trigger.id, trigger.status) for trigger in page.items]
        cursor = page.next_cursor
        if not page.has_more:
            break
    waits = [wait for wait in world.model.waits.values() if wait.project_id == project_id]
    meant = sorted(((wait.id, wait.status) for wait in waits), reverse=True)
    if seen != meant:
        raise Violation(f"the list shows {seen}, and there is {meant}")
    stats = await store.read(GetStats(project_id=project_id))
    counted = [sum(w.status == s for w in waits) for s in ("waiting", "received", "timed_out", "canceled")]
    if [stats.waiting, stats.received, stats.timed_out, stats.canceled] != counted:
        raise Violation(f"statistics say {stats}, the list has {counted}")
