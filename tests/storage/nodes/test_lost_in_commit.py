"""The connection is lost in the midst of a batch, or the answer to its commit is: everything of it took place,
or nothing did, and whoever asked is told which."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import OutcomeUnknown
from narrows.storage import lost_commits
from narrows.storage.line import Line
from tests.postgres.faults import Fate
from tests.postgres.proxy import Proxy
from tests.postgres.wire import Side
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import Points, end_sessions, node, sql, until, waiting_for_locks
from tests.storage.runs import Runs


async def _steps_of_a_send(bench: Bench, hold_secs: int | None) -> list[str]:
    points = Points(bench)
    await bench.open("measured", 0)
    points.seen.clear()
    await bench.send("measured", "1", hold_secs=hold_secs)
    return list(points.seen)


def _sessions(database: PostgresBackend) -> int:
    found = sql(database, "select 1 from pg_stat_activity where application_name like 'narrows %'")
    return len(found)


#: What a send takes for it: a transaction of several statements, or a single one.
STEPS_OR_SINGLE = pytest.mark.parametrize("hold_secs", [60, None], ids=["steps", "single"])


@STEPS_OR_SINGLE
async def test_a_session_that_ends_between_two_statements_takes_the_whole_batch_with_it(
    database: PostgresBackend, hold_secs: int | None
) -> None:
    """On another connection what is left of the batch would be a transaction of its own, a part of it. A single
    statement has nothing before it."""
    async with node(database) as bench:
        steps = await _steps_of_a_send(bench, hold_secs)
        for number, step in enumerate(steps):
            await bench.open(f"k{number}", 0)
            points = Points(bench)

            async def end() -> None:
                end_sessions(database)
                raw = bench.writing.line.raw
                await until(raw.is_closed)

            points.at(step, end)
            assert (await bench.send(f"k{number}", "1", hold_secs=hold_secs)).status == 200
            again = hold_secs is not None and step not in ("begin", "committed")
            assert Counter(points.seen)["begin"] == (2 if again else 1), step
            assert (await bench.get(f"k{number}")).status == TriggerStatus.RECEIVED
            assert database.faults() == []
    assert len(steps) > 7


@STEPS_OR_SINGLE
@pytest.mark.parametrize("fate", [Fate.CUT, Fate.ORPHAN])
async def test_a_commit_that_was_made_is_answered_though_its_answer_was_lost(
    database: PostgresBackend, fate: Fate, hold_secs: int | None
) -> None:
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        points = Points(bench)
        await bench.open("a", 0)
        points.seen.clear()
        proxy.on_commit("after", fate)
        assert (await bench.send("a", "1", hold_secs=hold_secs)).status == 200
        await proxy.struck()
        assert Counter(points.seen)["begin"] == 1  # it was not done again
        assert [trigger.status for trigger in await bench.listed()] == [TriggerStatus.RECEIVED]


@STEPS_OR_SINGLE
async def test_the_question_for_a_lost_commit_may_lose_its_answer_too(
    database: PostgresBackend, hold_secs: int | None
) -> None:
    """The commit never reached the server, and the question did: the second question finds what the first
    one left, which is not the commit."""
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        points = Points(bench)
        await bench.open("a", 0)
        points.seen.clear()
        proxy.on_commit("before")
        sending = asyncio.create_task(bench.send("a", "1", hold_secs=hold_secs))
        await proxy.struck()
        proxy.on(lambda message: message.side is Side.SERVER and message.text == "INSERT 0 1")
        assert (await sending).status == 200
        await proxy.struck()
        assert Counter(points.seen)["begin"] == 2
        assert (await bench.get("a")).status == TriggerStatus.RECEIVED


async def test_a_commit_that_comes_late_is_waited_for(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        points = Points(bench)
        await bench.open("a", 0)
        points.seen.clear()
        # As where nobody may end a session, or a pooler has it.
        monkeypatch.setattr(Line, "_end_what_was_left", lambda line: asyncio.sleep(0))
        proxy.on_commit("before", Fate.LATE)
        sending = asyncio.create_task(bench.send("a", "1", hold_secs=60))
        await proxy.struck()
        # Whether it took place cannot be told before that transaction ends. Now its commit reaches the server.
        await until(lambda: waiting_for_locks(database))
        proxy.release()
        assert (await sending).status == 200
        assert Counter(points.seen)["begin"] == 1
        assert (await bench.stats()).received == 1


async def test_a_statement_that_comes_after_it_was_given_up_finds_that_it_was(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was all of its batch, which was done again meanwhile."""
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        points = Points(bench)
        await bench.open("a", 0)
        points.seen.clear()
        monkeypatch.setattr(Line, "_end_what_was_left", lambda line: asyncio.sleep(0))
        proxy.on_commit("before", Fate.LATE)
        assert (await bench.send("a", "1")).status == 200
        await proxy.struck()
        assert Counter(points.seen)["begin"] == 2
        before = _sessions(database)
        proxy.release()
        # The session ends when it has done what came before the end of its connection.
        await until(lambda: _sessions(database) < before)
        assert (await bench.get("a")).version == 2
        assert (await bench.stats()).received == 1


@STEPS_OR_SINGLE
async def test_what_nobody_can_find_out_is_said_to_be_unknown(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch, hold_secs: int | None
) -> None:
    monkeypatch.setattr(lost_commits, "RESOLVE_SECS", 0.3)
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        await bench.open("a", 0)
        proxy.on_commit("after")
        proxy.refuse()
        with pytest.raises(OutcomeUnknown):
            await bench.send("a", "1", hold_secs=hold_secs)
        proxy.heal()
        await until(lambda: sql(database, "select 1 from triggers where status = 'received'"))


async def test_a_session_that_was_left_behind_is_ended_by_who_left_it(database: PostgresBackend) -> None:
    """The server has not noticed that the connection is gone, and keeps its locks: the batch would wait for
    its own shadow, and a claim, which waits for nobody, would find nothing."""
    async with Proxy(database.url) as proxy, node(database, proxy.dsn) as bench:
        runs = Runs(bench)
        await runs.put()
        await bench.open("a", 0)
        await runs.trigger()
        outcomes = []
        for operation in (bench.sending("a", "1"), runs.claiming()):
            proxy.heal()
            proxy.on_commit("before", Fate.ORPHAN)
            outcomes.append(await bench.perform(operation))
            await proxy.struck()
            assert not sql(database, "select 1 from pg_stat_activity where state = 'idle in transaction'")
        ((run,),) = outcomes[1]
        assert run.dispatch == 1
