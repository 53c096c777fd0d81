"""How often a batch that advances a workflow run asks the database."""

from __future__ import annotations

from narrows.storage.calls import WRITERS, Calls
from tests.storage.kit import PostgresBackend
from tests.storage.nodes.kit import node
from tests.workflows.kit import Workflows, step, wait

#: Begin; lock the roots; what the trigger leads to; the name of the jobs, tried; the rows of the steps, the one behind
#: the wait included, with its job; write, also new steps with changed ones; commit.
TRIPS = 7


async def test_a_send_that_starts_the_next_job_takes_seven_trips(database: PostgresBackend) -> None:
    async with node(database) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(
            step("before"), wait("hold", "before", key="{{payload.key}}"), step("after", "hold")
        )
        calls: Calls = bench.store.calls[WRITERS]
        await flows.start({"key": "first"})
        await flows.start({"key": "counted"})
        await flows.work()
        await bench.send("first")  # from now on the definition is at hand

        before = calls.round_trips
        await bench.send("counted")

        assert calls.round_trips - before == TRIPS
        assert await flows.work() == 2
