"""Two stores race over one database: what must be exact is, and what only lost a race is run again inside.

Bugs that others had stand here with their numbers, held open at their very point by two transactions."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from narrows.core.records import IdempotencyRecord
from narrows.core.runs import WORKER_LEASE_US
from narrows.core.states import GroupMode, TriggerStatus
from narrows.errors import Conflict, NotFound, Refusal, Unauthenticated
from narrows.operations.access import CreateApiKey, RevokeApiKey
from narrows.operations.base import DEV, Actor, Replayed
from narrows.operations.dispatch import Claim
from narrows.operations.events import BatchEvent, DeleteHeldEvent
from narrows.operations.idempotency import Idempotent, Kept
from narrows.operations.runs import CancelRun
from tests.postgres.session import Session
from tests.storage.kit import PROJECT, Bench, PostgresBackend
from tests.storage.nodes.kit import Points, node, sql, until, waiting_for_locks
from tests.storage.runs import Runs


@pytest.mark.parametrize("first", ["wait", "event"])
async def test_bug_01_a_wait_and_its_event_meet_though_neither_sees_the_other(
    database: PostgresBackend, first: str
) -> None:
    """The first has looked and found nothing, and has not committed; the second waits for it, then finds it."""
    async with node(database) as one, node(database) as other:
        await one.send("warm", "1", hold_secs=60)
        changes = [one.opening("a", 0), other.sending("a", "1", hold_secs=60)]
        if first == "event":
            changes = [one.sending("a", "1", hold_secs=60), other.opening("a", 0)]
        with Points(one).holding("flushed") as reached:
            ahead = asyncio.create_task(one.perform(changes[0]))
            await reached.wait()
            behind = asyncio.create_task(other.perform(changes[1]))
            await until(lambda: waiting_for_locks(database) or behind.done())
            assert not behind.done()
        await asyncio.gather(ahead, behind)
        assert (await one.get("a")).status == TriggerStatus.RECEIVED
        assert (await one.stats()).held == 1  # the one that warmed up


async def test_bug_20_canceled_requests_leave_nothing_open(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as other:
        await asyncio.gather(*(one.open(f"k{number}", 0) for number in range(20)))
        for step in ("begin", "loaded", "flushed"):
            with Points(one).holding(step) as reached:
                tasks: list[asyncio.Task[Any]] = [
                    asyncio.create_task(one.send(f"k{number}", "1")) for number in range(20)
                ]
                tasks += [asyncio.create_task(other.get(f"k{number}")) for number in range(20)]
                await reached.wait()
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (await other.send("k0", "1")).status == 200
        await until(
            lambda: not sql(database, "select 1 from pg_stat_activity where state like 'idle in tr%'")
        )


async def test_bug_21_changes_of_the_same_rows_in_opposite_orders_never_fail(
    database: PostgresBackend,
) -> None:
    """Batches of two stores over the same keys, runs and waits, shuffled: outcomes and refusals only."""
    order = random.Random(21)
    async with node(database) as one, node(database) as other:
        runs = Runs(one)
        await runs.put()
        for turn in range(6):
            keys = [f"{turn}:{letter}" for letter in "abcdefgh"]
            first, second = await runs.dispatch(), await runs.dispatch()
            await runs.wait(first, *keys[:2], mode=GroupMode.ALL)
            await runs.wait(second, *keys[2:4])
            await asyncio.gather(*(one.open(key, 0) for key in keys[4:]))
            changes: list[tuple[Bench, Any]] = []
            for bench, direction in ((one, 1), (other, -1)):
                mine = [BatchEvent(key, "1") for key in keys[::direction]]
                changes += [(bench, bench.batch(*mine)), (bench, bench.batch(*mine[2:6]))]
                changes += [(bench, bench.canceling(key)) for key in keys[::direction]]
                changes += [(bench, Runs(bench).claiming(limit=2, holder=f"worker:{direction}"))]
                changes += [
                    (bench, CancelRun(actor=DEV, project_id=PROJECT, entropy=turn, run_id=each.id))
                    for each in (first, second)[::direction]
                ]
            order.shuffle(changes)
            asked = (bench.service.perform(change) for bench, change in changes)
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            errors = [each for each in outcomes if isinstance(each, BaseException)]
            assert all(isinstance(each, Refusal) for each in errors), errors
        assert one.store.writer.invariant_violations == other.store.writer.invariant_violations == 0


async def test_of_two_that_make_the_same_project_one_is_first(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as other:
        for number in range(10):
            made = await asyncio.gather(
                one.project(f"p{number}"), other.project(f"p{number}"), return_exceptions=True
            )
            assert sum(isinstance(each, Conflict) for each in made) == 1, made


def _once(operation: Any, scope: str) -> Idempotent:
    def keep(outcome: Any) -> Kept:
        return Kept(outcome.status, outcome.trigger.id)

    return Idempotent(operation=operation, project_id=PROJECT, scope_hash=scope, body_hash="body", keep=keep)


async def test_a_request_with_an_idempotency_key_happens_once_over_all_stores(
    database: PostgresBackend,
) -> None:
    async with node(database) as one, node(database) as other:
        for number in range(10):
            asked = [_once(bench.opening(f"k{number}", 0), f"scope{number}") for bench in (one, other)]
            outcomes = await asyncio.gather(one.perform(asked[0]), other.perform(asked[1]))
            replayed = [each for each in outcomes if isinstance(each, Replayed)]
            assert len(replayed) == 1
            assert isinstance(replayed[0].record, IdempotencyRecord)
        assert len(await one.listed()) == 10


async def test_a_unique_race_without_a_lock_is_run_again(database: PostgresBackend) -> None:
    """Somebody else inserts the very row between our load and our write."""
    async with node(database) as one:
        points = Points(one)

        async def insert() -> None:
            sql(database, "insert into batches (id, at) values ('taken', 1)")

        given = iter([b"\xaa" * 16, b"\xbb" * 16])
        sql(database, f"insert into batches (id, at) values ('{'aa' * 16}', 1)")
        one.writing._random_bytes = lambda count: next(given)
        points.at("loaded", insert)
        assert (await one.open("a", 0)).status == TriggerStatus.WAITING
        assert points.seen.count("begin") == 2


async def test_a_revocation_holds_from_its_commit_on_at_every_store(database: PostgresBackend) -> None:
    async with node(database) as one, node(database) as other:
        for turn in range(8):
            key = f"key{turn}"
            await one.perform(
                CreateApiKey(
                    actor=DEV, entropy=one.entropy(), id=key, project_id=PROJECT, name=None,
                    scopes=("events:write",), secret_hash=f"hash of {key}",
                )
            )  # fmt: skip
            actor = Actor(f"key:{key}", key)
            revoke = RevokeApiKey(actor=DEV, entropy=one.entropy(), project_id=PROJECT, api_key_id=key)
            sends = [asyncio.create_task(other.open(f"{key}:{n}", 0, actor=actor)) for n in range(turn * 4)]
            await one.perform(revoke)
            with pytest.raises(Unauthenticated):  # it was asked after the revocation was answered
                await other.open(f"{key}:after", 0, actor=actor)
            outcomes = await asyncio.gather(*sends, return_exceptions=True)
            revoked_at = int(sql(database, f"select revoked_at from api_keys where id = '{key}'")[0][0] or 0)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    assert isinstance(outcome, Unauthenticated)
                else:
                    assert outcome.requested_at < revoked_at


async def test_a_limit_of_a_job_is_never_exceeded_by_two_stores(database: PostgresBackend) -> None:
    """Both claim as fast as they can, end some, and claim again; the server counts at each moment."""
    most, total = 3, 200
    async with node(database) as one, node(database) as other:
        counter = Session(database.url)
        await Runs(one).put(max_concurrency=most)
        await asyncio.gather(*(Runs((one, other)[n % 2]).trigger() for n in range(total)))
        done: set[str] = set()

        async def work(bench: Bench, holder: str) -> None:
            runs = Runs(bench)
            while len(done) < total:
                (claimed,) = await bench.perform(runs.claiming(limit=5, holder=holder))
                assert len(claimed) <= most
                ((executing,),) = counter.run("select count(*) from runs where status = 'executing'")
                assert int(executing or 0) <= most
                for run in claimed:
                    assert run.id not in done
                    await runs.complete(run)
                    done.add(run.id)
                await asyncio.sleep(0)

        await asyncio.gather(*(work(bench, f"worker:{n}") for n, bench in enumerate((one, other) * 2)))
        assert len(done) == total
        counter.close()


async def test_a_job_that_is_deleted_leaves_no_run_that_started_meanwhile(database: PostgresBackend) -> None:
    deleted = 0
    async with node(database) as one, node(database) as other:
        for turn in range(15):
            slug = f"job{turn}"
            await Runs(one).put(slug)
            starting = [Runs(other).trigger(slug) for _ in range(turn % 4)]
            outcomes = await asyncio.gather(
                one.perform(Runs(one).deleting(slug)), *starting, return_exceptions=True
            )
            is_deleted = not isinstance(outcomes[0], BaseException)
            deleted += is_deleted
            assert is_deleted or isinstance(outcomes[0], Conflict)
            started = [each for each in outcomes[1:] if not isinstance(each, NotFound)]
            assert not (is_deleted and started), outcomes
    assert deleted


async def test_a_claim_that_passed_over_a_held_run_gets_it_without_further_news(
    database: PostgresBackend,
) -> None:
    async with node(database) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.trigger()
        with Session(database.url) as session:
            session.run("begin")
            session.run(f"select 1 from runs where id = '{run.id}' for update")
            claim = Claim(PROJECT, (run.job_id,), 1, "worker:w", WORKER_LEASE_US, DEV)
            claiming = asyncio.create_task(bench.service.claims.claim(claim, 3_600))
            await until(lambda: bench.service.claims.waiting)
            session.run("rollback")
        while not claiming.done():
            bench.clock.advance(secs=0.25)
            await asyncio.sleep(0.005)
        (claimed,) = await claiming
        assert claimed.id == run.id


async def test_what_a_held_event_was_delivered_to_is_locked_with_it(database: PostgresBackend) -> None:
    """So that a batch that names the event begins once."""
    async with node(database) as bench:
        held = await bench.send("a", "1", hold_secs=60, event_id="e")
        await bench.open("a")
        points = Points(bench)
        delete = DeleteHeldEvent(actor=DEV, project_id=PROJECT, entropy=bench.entropy(), held_id=held.held.id)
        with pytest.raises(NotFound, match="delivered"):
            await bench.perform(delete)
        assert points.seen.count("begin") == 1
