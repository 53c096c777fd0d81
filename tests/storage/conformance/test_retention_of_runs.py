"""Retention and purge beside runs: what goes with a run, and what stays because a live one needs it."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.core.deliveries import Outcome
from narrows.core.run_records import Run
from narrows.core.states import FactKind, RunStatus
from narrows.engine.prune import PERIOD_US, PruneRole
from narrows.errors import NotFound
from narrows.operations.base import DEV
from narrows.operations.deliveries import ClaimDeliveries, FinishDeliveries
from narrows.operations.purge import DeleteRows, DeleteRuns, DeleteTriggers, Purge
from narrows.operations.reads import CountRuns, RunCheckpoint, WaitGroupsOf
from narrows.operations.reads.deliveries import ListDeliveries
from narrows.operations.retention import PruneRows, PruneRuns, PruneTriggers
from narrows.operations.run_plane import CompleteRun, SaveCheckpoint
from tests.storage.kit import PROJECT, Backend, Bench, opened
from tests.storage.runs import Runs

LARGE = '"' + "x" * 3_000 + '"'
DAY_SECS = 86_400
SECOND_US = 1_000_000


async def _prune_runs(bench: Bench, limit: int = 500) -> int:
    return await bench.prune(PruneRuns(bench.clock.now(), limit, bench.entropy()))


async def _prune_triggers(bench: Bench) -> int:
    return await bench.prune(PruneTriggers(bench.clock.now(), 500, bench.entropy()))


async def _waited(bench: Bench, runs: Runs, *keys: str) -> Run:
    """A run that has waited for events of large payloads, and is executing again."""
    run = await runs.dispatch(payload=LARGE)
    await bench.perform(SaveCheckpoint(**runs.of_dispatch(run), state=LARGE))
    await runs.wait(run, *keys, mode="all")
    for key in keys:
        await bench.send(key, LARGE)
    (run,) = await runs.claim()
    return run


async def test_an_ended_run_goes_with_everything_that_was_its_own(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        run = await _waited(bench, runs, "a", "b")
        await runs.complete(run, LARGE)
        ended = await runs.get(run)
        bench.clock.advance(secs=1)
        assert await _prune_runs(bench) == 1
        assert [fact.kind for fact in bench.commits[-1].facts] == [FactKind.RUNS_PURGED]
        for payload_id in (ended.payload_id, ended.result_id, ended.state_id):
            assert payload_id is not None
            assert await bench.rows("payloads_by_id", (PROJECT, payload_id)) == []
        for dispatch in "12":
            assert await bench.rows("run_answers_by_dispatch", (PROJECT, run.id, dispatch)) == []
        assert await bench.rows("roots_by_id", (PROJECT, run.id)) == []
        with pytest.raises(NotFound):
            await runs.get(run)
        assert set((await bench.store.read(CountRuns())).values()) == {0}
        # Its triggers are older still; the wait group goes with the last of them.
        group = (PROJECT, ended.wait_group_id or "")
        assert len(await bench.listed()) == 2
        assert await _prune_triggers(bench) == 2
        assert await bench.rows("wait_groups_by_id", group) == []
        assert await _prune_runs(bench) == 0


async def test_only_runs_that_ended_before_go_a_few_at_a_time(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        old = [await runs.dispatch() for _ in range(3)]
        for run in old:
            await runs.complete(run)
        late, waiting = await runs.dispatch(), await runs.dispatch()
        await runs.wait(waiting, "w", timeout_secs=0)
        queued = await runs.trigger()
        bench.clock.advance(secs=1)
        before = bench.clock.now()
        await runs.complete(late)
        prune = PruneRuns(before, 2, bench.entropy())
        assert [await bench.prune(prune) for _ in range(3)] == [2, 1, 0]
        everything = tuple((PROJECT, run.id) for run in (*old, late, waiting, queued))
        again = DeleteRuns(ids=everything, finished_before=before, entropy=bench.entropy())
        assert await bench.perform(again) == 0
        counts = await bench.store.read(CountRuns())
        assert counts == dict.fromkeys(RunStatus, 0) | {"queued": 1, "waiting": 1, "completed": 1}


async def test_the_triggers_of_a_live_run_stay(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        run = await _waited(bench, runs, "a")
        bench.clock.advance(secs=90 * DAY_SECS)
        assert (await bench.service.purge(Purge(DEV, PROJECT, 1, False, 1))).deleted == 0
        assert (await bench.service.purge(Purge(DEV, PROJECT, 1, True, 1))).would_delete == 0
        assert await _prune_triggers(bench) == await _prune_runs(bench) == 0
        checkpoint = await bench.store.read(RunCheckpoint(PROJECT, run.id))
        assert (checkpoint.state, checkpoint.triggers[0].response_payload) == (LARGE, LARGE)


async def test_a_live_replay_keeps_the_end_of_the_wait_that_it_goes_on_from(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        run = await _waited(bench, runs, "a")
        await runs.fail(run)
        bench.clock.advance(secs=90 * DAY_SECS)
        replay = await bench.perform(runs.replaying(run))
        bench.clock.advance(secs=1)
        assert await _prune_runs(bench) == 1
        assert (await bench.service.purge(Purge(DEV, PROJECT, 1, True, 1))).would_delete == 0
        assert (await bench.service.purge(Purge(DEV, PROJECT, 1, False, 1))).deleted == 0
        assert await _prune_triggers(bench) == 0
        checkpoint = await bench.store.read(RunCheckpoint(PROJECT, replay.id))
        assert (checkpoint.state, checkpoint.triggers[0].response_payload) == (LARGE, LARGE)
        (again,) = await runs.claim()
        await runs.complete(again)
        assert await _prune_triggers(bench) == 1
        bench.clock.advance(secs=1)
        assert await _prune_runs(bench) == 1


async def test_a_replay_that_came_after_purge_had_looked_keeps_it_too(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        run = await _waited(bench, runs, "a")
        await runs.fail(run)
        bench.clock.advance(secs=DAY_SECS)
        (trigger,) = await bench.listed()
        keys = ((PROJECT, trigger.id),)
        groups = await bench.store.read(WaitGroupsOf(keys))
        assert groups == ((PROJECT, run.wait_group_id),)

        def found(wait_groups: tuple[tuple[str, str], ...]) -> DeleteTriggers:
            before = bench.clock.now()
            return DeleteTriggers(ids=keys, settled_before=before, entropy=1, wait_groups=wait_groups)

        # In the same commit, and in a later one; and what was not asked for stays as well.
        _, deleted = await bench.together(runs.replaying(run), found(groups))
        assert deleted == 0
        assert await bench.perform(found(groups)) == 0
        (replay,) = await runs.claim()
        await runs.complete(replay)
        assert await bench.perform(found(())) == 0
        assert await bench.perform(found(groups)) == 1


async def test_a_replay_that_ends_in_the_very_commit_holds_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        run = await _waited(bench, runs, "a")
        await runs.fail(run)
        await bench.perform(runs.replaying(run))
        (replay,) = await runs.claim()
        bench.clock.advance(secs=DAY_SECS)
        (trigger,) = await bench.listed()
        keys = ((PROJECT, trigger.id),)
        groups = await bench.store.read(WaitGroupsOf(keys))
        ending = CompleteRun(**runs.of_dispatch(replay), result=None, body_hash="complete")
        purging = DeleteTriggers(ids=keys, settled_before=bench.clock.now(), entropy=1, wait_groups=groups)
        ended, deleted = await bench.together(ending, purging)
        assert (ended, deleted) == (RunStatus.COMPLETED, 1)


async def test_a_trigger_stays_while_a_webhook_about_it_is_due(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a", 0, notify_url="https://example.com/hook")
        sent = (await bench.send("a", "1")).trigger
        assert sent.notify_status == "pending"
        opened_one, settled_one = await _deliveries(bench)
        bench.clock.advance(secs=2 * DAY_SECS)
        assert (await bench.service.purge(Purge(DEV, PROJECT, 1, True, 1))).would_delete == 0
        assert await _prune_triggers(bench) == 0
        prune = PruneRows("deliveries", bench.clock.now(), 10)
        assert await bench.prune(prune) == 0
        await _deliver(bench, settled_one)
        # The other one is of no use without its trigger.
        assert await _prune_triggers(bench) == 1
        for delivery_id in (opened_one, settled_one):
            assert await bench.rows("deliveries_by_id", (PROJECT, delivery_id)) == []


async def test_deliveries_that_are_over_go_by_their_age(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("a", 0, notify_url="https://example.com/hook")
        (delivery_id,) = await _deliveries(bench)
        pending = DeleteRows(table="deliveries", keys=((PROJECT, delivery_id),), before=bench.clock.now())
        await bench.perform(pending)
        assert len(await bench.rows("deliveries_by_id", (PROJECT, delivery_id))) == 1
        bench.clock.advance(secs=1)
        await _deliver(bench, delivery_id)
        prune = PruneRows("deliveries", bench.clock.now(), 10)
        assert await bench.prune(prune) == 0
        bench.clock.advance(secs=1)
        assert await bench.prune(PruneRows("deliveries", bench.clock.now(), 10)) == 1
        assert await bench.rows("deliveries_by_id", (PROJECT, delivery_id)) == []


async def _deliveries(bench: Bench) -> list[str]:
    """The ids of all deliveries, the oldest first."""
    page = await bench.store.read(ListDeliveries(project_id=PROJECT))
    return [delivery.id for delivery in reversed(page.items)]


async def _deliver(bench: Bench, delivery_id: str) -> None:
    """One attempt, and it succeeds."""
    keys = ((PROJECT, delivery_id),)
    claimed = await bench.perform(ClaimDeliveries(ids=keys, lease_us=SECOND_US, entropy=bench.entropy()))
    ended = tuple((each, Outcome(200)) for each in claimed)
    assert await bench.perform(FinishDeliveries(ended=ended, entropy=bench.entropy())) == 1


async def test_what_has_to_stay_does_not_hold_up_what_may_go(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("narrows.engine.prune.ROWS_AN_OPERATION", 5)
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.create()
        await _waited(bench, runs, *(f"kept:{number}" for number in range(20)))
        for number in range(12):
            await bench.open(f"gone:{number}")
            await bench.send(f"gone:{number}", "1")
        bench.clock.advance(secs=2 * DAY_SECS)
        asked: list[PruneTriggers] = []
        pruning = bench.service.prune

        async def seen(what: Any) -> Any:
            asked.extend([what] if isinstance(what, PruneTriggers) else [])
            return await pruning(what)

        monkeypatch.setattr(bench.service, "prune", seen)
        role, began = PruneRole(bench.service, retention_days=1), bench.clock.now()
        for passes in (1, 2):
            while (await role.round() or 0) < began + PERIOD_US:
                pass
            assert {trigger.event_key[:4] for trigger in await bench.listed()} == {"kept"}
            # 32 rows, and then the 20 that are left: each is looked at once in a pass.
            assert len(asked) == (7, 12)[passes - 1]
