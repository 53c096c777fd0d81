"""Runs, their dispatches and their waits: a run advances with its wait group and triggers in one commit,
each wait is resumed once, and only the newest dispatch may change anything."""

from __future__ import annotations

import random

import pytest

from narrows.core.runs import SERVER_LEASE_US, WORKER_LEASE_US
from narrows.core.states import GroupMode, OnEnd
from narrows.errors import Conflict, Gone, InvalidRequest, NotFound
from narrows.operations.dispatch import (
    RenewLeases,
)
from narrows.operations.run_plane import (
    CompleteRun,
    FailRun,
    Heartbeat,
    LogLine,
    ReleaseRun,
    SaveCheckpoint,
    SaveProgress,
    SleepRun,
)
from tests.storage.kit import PROJECT, Backend, opened
from tests.storage.runs import SECOND, Runs

LONG = '"' + "x" * 3_000 + '"'


async def test_a_run_goes_through_its_life(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        made = await runs.trigger(payload='{"n":1}')
        assert (made.status, made.dispatch) == ("queued", 0)
        (run,) = await runs.claim()
        assert (run.status, run.dispatch, run.holder) == ("executing", 1, "worker:w")
        assert await runs.claim() == ()
        done = CompleteRun(**runs.of_dispatch(run), result=LONG, body_hash="h")
        assert await bench.perform(done) == "completed"
        ended = await runs.get(run)
        assert (ended.status, ended.result, ended.finished_at is not None) == ("completed", LONG, True)
        ((_, _, text, _),) = await bench.rows("payloads_by_id", (PROJECT, ended.result_id or ""))
        assert text == LONG
    assert backend.faults() == []


async def test_the_highest_priority_goes_first_then_the_oldest(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put("a")
        await runs.put("b")
        made = [
            await runs.trigger(slug, priority=priority)
            for slug, priority in (("a", 0), ("b", 0), ("a", 5), ("b", 9), ("a", 0))
        ]
        order = [made[number].id for number in (3, 2, 0, 1, 4)]
        assert [run.id for run in await runs.claim("a", "b", limit=3)] == order[:3]
        assert [run.id for run in await runs.claim("a", "b", limit=100)] == order[3:]


async def test_claims_in_one_commit_never_get_the_same_run(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        for _ in range(6):
            await runs.trigger()
        found = await bench.together(*(runs.claiming(limit=2, holder=f"worker:{n}") for n in range(4)))
        ids = [run.id for (granted,) in found for run in granted]
        assert len(ids) == len(set(ids))
        ids += [run.id for run in await runs.claim(limit=9)]
        assert len(set(ids)) == 6


async def test_a_job_never_has_more_runs_executing_than_it_may(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put(max_concurrency=2)
        for _ in range(5):
            await runs.trigger()
        found = await bench.together(*(runs.claiming(limit=3, holder=f"worker:{n}") for n in range(3)))
        executing = [run for (granted,) in found for run in granted]
        assert len(executing) == 2
        assert await runs.claim(limit=5) == ()
        await runs.wait(executing[0], "k")
        assert len(await runs.claim(limit=5)) == 1
        await bench.send("k")
        assert await runs.claim(limit=5) == ()


async def test_a_delayed_run_is_queued_at_its_time_and_not_before(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.trigger(scheduled_at=bench.clock.now() + 5 * SECOND)
        assert run.status == "delayed"
        assert await runs.wake(run) == 0
        assert await runs.claim() == ()
        bench.clock.advance(us=6 * SECOND)
        assert await runs.wake(run) == 1
        assert [each.id for each in await runs.claim()] == [run.id]


# ---- waiting -----------------------------------------------------------------------------------


async def test_an_event_resumes_its_run_in_the_commit_that_receives_it(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        outcome = await runs.wait(run, "k")
        assert [wait.event_key for wait in outcome.waits] == ["k"]
        assert (await runs.get(run)).status == "waiting"
        await bench.send("k", '{"ok":true}')
        assert {trigger.id for trigger in bench.commits[-1].triggers} == {outcome.waits[0].trigger_id}
        assert [(each.id, each.status) for each in bench.commits[-1].runs] == [(run.id, "queued")]
        (again,) = await runs.claim()
        assert (again.dispatch, again.attempt) == (2, 1)
    assert backend.faults() == []


async def test_an_event_that_was_held_lets_the_run_go_on_at_once(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        await bench.send("k", "7", hold_secs=60)
        run = await runs.dispatch()
        outcome = await runs.wait(run, "k")
        assert (await runs.get(run)).status == "queued"
        trigger = await bench.get_by_id(outcome.waits[0].trigger_id)
        assert (trigger.status, trigger.response_payload) == ("received", "7")


async def test_an_ending_call_repeated_by_its_dispatch_gets_its_first_answer_also_later(
    backend: Backend,
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        first = await runs.wait(run, "k")
        assert await runs.wait(run, "k") == first
        with pytest.raises(Conflict):
            await runs.wait(run, "other", body_hash="other")
        await bench.send("k")
        (second,) = await runs.claim()
        assert await runs.wait(run, "k") == first
        done = CompleteRun(**runs.of_dispatch(second), result="1", body_hash="h")
        assert await bench.perform(done) == "completed"
        assert await bench.perform(done) == "completed"
        assert await runs.wait(run, "k") == first
        with pytest.raises(Gone):
            await bench.perform(FailRun(**runs.of_dispatch(second), error="late", body_hash="f"))


async def test_what_an_earlier_dispatch_still_does_changes_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "k")
        await bench.send("k")
        (second,) = await runs.claim()
        before = await runs.get(run)
        common = runs.of_dispatch(run)
        for late in (
            CompleteRun(**common, result="1", body_hash="c"),
            FailRun(**common, error="x", body_hash="f"),
            ReleaseRun(**common, body_hash="r"),
            Heartbeat(**common, lease_us=WORKER_LEASE_US),
            SaveCheckpoint(**common, state="1"),
            LogLine(**common, level="info", message="x"),
            SaveProgress(**common, percent=1.0),
            SleepRun(**common, duration_secs=5, body_hash="s"),
        ):
            with pytest.raises(Conflict):
                await bench.perform(late)
        assert await runs.finish(run, completed=True, result="1") is None
        assert await runs.finish(run, completed=False, error="x") is None
        (renewed,) = await bench.perform(
            RenewLeases(leases=((PROJECT, run.id, 1),), lease_us=SERVER_LEASE_US, entropy=1)
        )
        assert not renewed
        assert await runs.get(run) == before
        assert second.dispatch == 2


@pytest.mark.parametrize(
    ("mode", "count", "sent"), [(GroupMode.ANY, None, 1), (GroupMode.ALL, None, 3), (GroupMode.COUNT, 2, 2)]
)
async def test_a_group_goes_on_when_enough_has_come_and_closes_the_rest(
    backend: Backend, mode: GroupMode, count: int | None, sent: int
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "a", "b", "c", mode=mode, count=count)
        for number, key in enumerate(("c", "a", "b")[:sent], 1):
            assert (await runs.get(run)).status == "waiting"
            await bench.send(key)
            assert (await runs.get(run)).status == ("queued" if number == sent else "waiting")
        statuses = sorted(trigger.status for trigger in await bench.listed())
        assert statuses == sorted(["received"] * sent + ["canceled"] * (3 - sent))
    assert backend.faults() == []


@pytest.mark.parametrize("seed", range(5))
async def test_fifty_events_in_one_commit_in_any_order_are_all_taken_and_resume_once(
    backend: Backend, seed: int
) -> None:
    keys = [f"k{number:02}" for number in range(50)]
    random.Random(seed).shuffle(keys)
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, *sorted(keys), mode=GroupMode.ALL)
        outcomes = await bench.together(*(bench.sending(key, f'"{key}"') for key in keys))
        assert not [each for each in outcomes if isinstance(each, Exception)]
        (commit,) = [
            each for each in bench.commits if len(each.triggers) == 50 and each.runs[0].status == "queued"
        ]
        assert [fact.kind for fact in commit.facts if fact.subject_id == run.id] == ["run.resumed"]
        assert {each.event_key: each.response_payload for each in await bench.listed()} == {
            key: f'"{key}"' for key in keys
        }
        assert [each.id for each in await runs.claim(limit=5)] == [run.id]
    assert backend.faults() == []


async def test_fifty_events_of_one_group_in_one_commit_resume_it_once(backend: Backend) -> None:
    keys = [f"k{number:02}" for number in range(50)]
    for order in (keys, keys[::-1], keys[25:] + keys[:25]):
        async with opened(backend) as bench:
            runs = Runs(bench)
            await runs.put()
            run = await runs.dispatch()
            await runs.wait(run, *keys, mode=GroupMode.COUNT, count=20)
            outcomes = await bench.together(*(bench.sending(key, "1") for key in order))
            taken = [
                key
                for key, outcome in zip(order, outcomes, strict=True)
                if not isinstance(outcome, Exception)
            ]
            assert taken == order[:20]
            assert all(isinstance(outcome, Conflict) for outcome in outcomes[20:])
            (again,) = await runs.claim()
            await bench.perform(CompleteRun(**runs.of_dispatch(again), result=None, body_hash="h"))
            resumed = [
                fact for commit in bench.commits for fact in commit.facts if fact.kind == "run.resumed"
            ]
            assert len(resumed) == 1
            assert run.id == again.id


@pytest.mark.parametrize(("on_timeout", "status"), [(OnEnd.END, "timed_out"), (OnEnd.RESUME, "queued")])
async def test_a_time_out_ends_the_run_or_lets_it_go_on_as_it_asked(
    backend: Backend, on_timeout: OnEnd, status: str
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "a", "b", mode=GroupMode.ALL, on_timeout=on_timeout, timeout_secs=5)
        bench.clock.advance(us=6 * SECOND)
        trigger = await bench.get("a")
        await bench.perform(bench.expiring(trigger))
        assert (await runs.get(run)).status == status
        assert (await bench.get("a")).status == "timed_out"
        assert (await bench.get("b")).status in ("timed_out", "canceled")


@pytest.mark.parametrize(("on_cancel", "status"), [(OnEnd.END, "canceled"), (OnEnd.RESUME, "queued")])
async def test_a_canceled_wait_ends_the_run_or_lets_it_go_on_as_it_asked(
    backend: Backend, on_cancel: OnEnd, status: str
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "a", "b", on_cancel=on_cancel)
        await bench.perform(bench.canceling("a"))
        assert (await runs.get(run)).status == "waiting"  # any: the other may still come
        await bench.perform(bench.canceling("b"))
        assert (await runs.get(run)).status == status


@pytest.mark.parametrize("order", [("event", "clock"), ("clock", "event")])
async def test_a_time_out_and_an_event_in_one_commit_leave_one_winner(
    backend: Backend, order: tuple[str, str]
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await runs.wait(run, "k", timeout_secs=5, on_timeout=OnEnd.RESUME)
        made = {"event": bench.sending("k", "1"), "clock": bench.expiring(await bench.get("k"))}
        bench.clock.advance(us=6 * SECOND)
        await bench.together(*(made[each] for each in order))
        assert (await bench.get("k")).status == "timed_out"
        resumed = [fact for commit in bench.commits for fact in commit.facts if fact.kind == "run.resumed"]
        assert [fact.subject_id for fact in resumed] == [run.id]


async def test_a_sleep_elapses_and_no_event_can_end_it(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        slept = await bench.perform(SleepRun(**runs.of_dispatch(run), duration_secs=5, body_hash="s"))
        key = slept.waits[0].event_key
        with pytest.raises(Conflict, match="takes no event"):
            await bench.send(key)
        with pytest.raises(Conflict, match="takes no event"):
            await bench.send(None, trigger_id=slept.waits[0].trigger_id)
        bench.clock.advance(us=6 * SECOND)
        await bench.perform(bench.expiring(await bench.get(key)))
        assert (await bench.get(key)).status == "received"
        (again,) = await runs.claim()
        outcome = await bench.perform(SleepRun(**runs.of_dispatch(again), duration_secs=0, body_hash="s"))
        assert (await bench.get(outcome.waits[0].event_key)).status == "received"
        assert (await runs.get(run)).status == "queued"
    assert backend.faults() == []


async def test_a_refused_wait_leaves_the_run_executing(backend: Backend) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.dispatch()
        await bench.open("taken")
        for keys, refusal in (
            (("a", "taken"), Conflict),
            (("a", "a"), InvalidRequest),
        ):
            with pytest.raises(refusal):
                await runs.wait(run, *keys)
        assert await runs.get(run) == run
        with pytest.raises(NotFound):
            await bench.get("a")
