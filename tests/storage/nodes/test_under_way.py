"""What one node has under way and another changes: a request to an endpoint ends with its run, wherever that is
canceled. (The lease, which is renewed each five seconds, would tell it too, but the clock stands still here.)"""

from __future__ import annotations

import asyncio

import pytest

from narrows.core.run_records import Job, Run
from narrows.core.states import RunStatus
from narrows.engine.dispatch import DispatchRole
from narrows.engine.loop import Engine
from narrows.operations.dispatch import DispatchResult
from narrows.operations.reads.luggage import Luggage
from tests.storage.kit import PostgresBackend
from tests.storage.nodes.kit import node, until
from tests.storage.runs import Runs


class Endpoint:
    """One that never answers."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.broken_off: list[str] = []

    async def call(self, run: Run, job: Job, luggage: Luggage) -> DispatchResult:
        self.called.append(run.id)
        try:
            await asyncio.Event().wait()
        finally:
            self.broken_off.append(run.id)
        raise AssertionError("unreachable")


@pytest.mark.parametrize("listens", [True, False])
async def test_a_run_that_is_canceled_at_one_node_breaks_off_the_request_of_another(
    database: PostgresBackend, listens: bool
) -> None:
    access = {} if listens else {"listen_url": ""}
    async with node(database, **access) as one, node(database, **access) as other:
        await until(lambda: one.store.members.has_others and other.store.members.has_others)
        await until(lambda: other.store._news.is_listening is listens)
        other.store._news._interests = other.feed.interests
        endpoint = Endpoint()
        role = DispatchRole(other.service, endpoint, "server:other", 10)  # type: ignore[arg-type]
        engine = Engine(other.service, [role])
        await Runs(one).put(endpoint_url="http://one.example/x")
        canceled, kept = [await Runs(one).trigger() for _ in range(2)]
        engine.start()
        try:
            await until(lambda: len(endpoint.called) == 2)
            assert set(other.feed.interests().subjects) == {canceled.id, kept.id}
            await one.perform(Runs(one).canceling(canceled))
            await until(lambda: endpoint.broken_off)
            assert endpoint.broken_off == [canceled.id]
            assert (await Runs(other).get(kept)).status == RunStatus.EXECUTING
        finally:
            await engine.stop()
        assert other.feed.interests().subjects == {}
