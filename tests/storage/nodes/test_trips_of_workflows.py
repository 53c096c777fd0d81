"""How often a batch that advances a workflow run, or hands runs out, asks the database."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from narrows.storage.calls import WRITERS, Calls
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import node
from tests.storage.runs import Runs
from tests.workflows.kit import Workflows, step, wait

#: Begin; lock the roots, reading what is locked, and try the name of the jobs; the rows of the steps, the one behind
#: the wait included, with its job; write, also new steps with changed ones; commit.
TRIPS_OF_A_SEND = 5
#: The same; nothing starts by it.
TRIPS_OF_THE_LAST_RESULT = 5
#: Begin with the names; what is queued, with its job and the time; write; commit.
TRIPS_OF_A_CLAIM = 4
#: Behind that how many runs of the job are executing, which its lock protects.
TRIPS_OF_A_LIMITED_CLAIM = 5
#: Begin with the names; the time with the workflow and the jobs that it starts with; write; commit.
TRIPS_OF_A_START = 4
#: Behind that the names of the keys that its first steps wait under, tried, and what is held for them.
TRIPS_OF_A_START_THAT_WAITS = 6
#: Begin; lock the run, reading it; write; commit.
TRIPS_OF_A_RESULT = 4


async def _trips(bench: Bench, what: Awaitable[Any]) -> int:
    calls: Calls = bench.store.calls[WRITERS]
    before = calls.round_trips
    await what
    return calls.round_trips - before


async def test_a_send_that_starts_the_next_job(database: PostgresBackend) -> None:
    async with node(database) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(
            step("before"), wait("hold", "before", key="{{payload.key}}"), step("after", "hold")
        )
        await flows.start({"key": "first"})
        await flows.start({"key": "counted"})
        await flows.work()
        await bench.send("first")  # from now on the definition is at hand

        assert await _trips(bench, bench.send("counted")) == TRIPS_OF_A_SEND
        assert await flows.work() == 2


async def test_the_result_of_the_last_job(database: PostgresBackend) -> None:
    async with node(database) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(step("only"))
        (run,) = await flows.claim()

        result = bench.service.perform(flows.finishing(run))
        assert await _trips(bench, result) == TRIPS_OF_THE_LAST_RESULT
        assert await flows.status(run_id) == "completed"


async def test_a_workflow_that_starts_with_a_job(database: PostgresBackend) -> None:
    async with node(database) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.begin(step("only"))

        start = bench.service.perform(await flows.starting())
        assert await _trips(bench, start) == TRIPS_OF_A_START
        assert await flows.work() == 2


async def test_a_workflow_that_starts_with_a_wait(database: PostgresBackend) -> None:
    async with node(database) as bench:
        flows = Workflows(bench)
        await flows.define(wait("only", key="{{payload.key}}"))

        start = bench.service.perform(await flows.starting({"key": "k"}))
        assert await _trips(bench, start) == TRIPS_OF_A_START_THAT_WAITS
        assert (await bench.get("k")).status == "waiting"


async def test_a_claim_and_a_result(database: PostgresBackend) -> None:
    async with node(database) as bench:
        runs = Runs(bench)
        await runs.put()
        run = await runs.trigger()

        assert await _trips(bench, bench.perform(runs.claiming())) == TRIPS_OF_A_CLAIM
        claimed = await runs.get(run)
        assert claimed.status == "executing"
        assert await _trips(bench, runs.finish(claimed, completed=True)) == TRIPS_OF_A_RESULT


async def test_a_claim_of_a_job_with_a_limit(database: PostgresBackend) -> None:
    async with node(database) as bench:
        runs = Runs(bench)
        await runs.put(max_concurrency=1)
        first, second = await runs.trigger(), await runs.trigger()

        assert await _trips(bench, bench.perform(runs.claiming(limit=2))) == TRIPS_OF_A_LIMITED_CLAIM
        assert [(await runs.get(run)).status for run in (first, second)] == ["executing", "queued"]
