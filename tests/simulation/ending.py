"""What has to be true once a run of the simulation has come to rest, and of the store after every crash."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from typing import TYPE_CHECKING, Any

from narrows.operations.reads.listing import ListTriggers
from narrows.operations.reads.triggers import GetStats
from narrows.storage.statements import for_sqlite
from narrows.storage.verify import CHECKS
from tests.simulation.clients import PROJECTS
from tests.simulation.run_ending import check_runs
from tests.simulation.server import database
from tests.simulation.values import DAY_US, Violation, Wait
from tests.simulation.workflow_ending import check_workflows

if TYPE_CHECKING:
    from tests.simulation.world import World

SECOND_US = 1_000_000
#: Lateness allowed to any time-out, also to what was overdue at a start, and where a write failed.
LATE_US = 5 * SECOND_US
#: So long the role may rest while something is due: the shortest sleep of its loop (a millisecond), and one event of
#: the virtual loop that happens as it wakes.
REST_US = 2_000
#: The mark and two pages of the index, four operations, a page of the recheck, and the mark again.
CALLS_A_ROUND = 9
#: Longer texts than of so many are not kept by the driver.
CHECKS_AT_ONCE = 11


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
    for statement in _checks():
        for name, *row in database().raw.execute(statement):
            raise Violation(f"verify: {CHECKS[name]}: {row}")


@cache
def _checks() -> tuple[str, ...]:
    """All checks, several in one statement: so few stay prepared, forty would drive out one another and the rest."""
    each = [f"select '{name}', * from ({for_sqlite()[name].strip().rstrip(';')}\n)" for name in CHECKS]
    return tuple(
        " union all ".join(each[at : at + CHECKS_AT_ONCE]) for at in range(0, len(each), CHECKS_AT_ONCE)
    )


def _check_timers(world: World) -> None:
    now = world.clock.now()
    for wait in world.model.waits.values():
        if wait.status == "waiting" and wait.expires_at < now - LATE_US:
            raise Violation(f"{wait} was never timed out; now is {now}")
        if wait.status == "timed_out" or (wait.is_sleep and wait.status == "received"):
            _check_in_time(world, wait)


def _check_in_time(world: World, wait: Wait) -> None:
    """It was timed out as soon as the server could that was up."""
    due, settled_at = wait.expires_at, wait.settled_at or 0
    for started, ended in world.lives:
        since = max(due, started)
        if ended and ended < since + LATE_US:
            continue  # this life was too short to be held to it
        if settled_at > since + LATE_US:
            raise Violation(f"{wait} was timed out too late; lives of the server: {world.lives}")
        failed = any(due - LATE_US <= at <= settled_at for at in world.faults.failed_at_us)
        if settled_at > since + REST_US and not failed:
            _check_calls(world, wait, since)
        return


def _check_calls(world: World, wait: Wait, since: int) -> None:
    """From when it was due until it was settled its role was waiting for answers, and for few of them.

    Not how long that took: each answer may be as late as chance will have it (20 ms, and what else is pending then),
    and what falls due in the midst of a round is taken by the next. So of two rounds at most the answers may lie
    between, in which nobody knew of it or its own operation was on the way; and of one round more for each wait that
    was due before it, since a round takes the earliest. But the role never rests meanwhile."""
    settled_at = wait.settled_at or 0
    first = bisect_left(world.calls, since, key=lambda call: call[1])
    calls = sorted(call for call in world.calls[first:] if call[0] <= settled_at)
    worked_until = since
    for began, ended in (*calls, (settled_at, settled_at)):
        if began > worked_until + REST_US:
            raise Violation(f"{wait} was due, and its role rested from {worked_until} to {began}")
        worked_until = max(worked_until, ended)
    ahead = [
        each
        for each in world.model.waits.values()
        if (each.expires_at, each.id) < (wait.expires_at, wait.id)
        and (each.settled_at is None or each.settled_at >= since)
    ]
    if len(calls) > CALLS_A_ROUND * (2 + len(ahead)):
        raise Violation(
            f"{wait} was due, and {len(calls)} calls came before it, with {len(ahead)} ahead of it"
        )


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
