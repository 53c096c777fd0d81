"""Two sends both succeed, the last payload wins, dependents are counted twice. Here the first one
settles, an equal one is told so and changes nothing, another one is a conflict."""

from __future__ import annotations

import asyncio

import pytest

from narrows.core.states import FactKind
from narrows.errors import Conflict
from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


@pytest.mark.parametrize("together", [True, False])
async def test_exactly_one_payload_wins_and_stays(backend: Backend, together: bool) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 0)
        sends = [bench.sending("a", str(number)) for number in range(5)]
        if together:
            outcomes = await bench.together(*sends)
        else:
            outcomes = await asyncio.gather(*map(bench.perform, sends), return_exceptions=True)
        winners = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        assert len(winners) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4
        stored = await bench.get_by_id(trigger.id)
        assert stored == winners[0].trigger
        received = [f for c in bench.commits for f in c.facts if f.kind == FactKind.TRIGGER_RECEIVED]
        assert len(received) == (await bench.stats()).received == 1


@pytest.mark.parametrize("together", [True, False])
async def test_a_step_that_depends_on_the_wait_starts_once(backend: Backend, together: bool) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(wait("a"), wait("b"), step("after", "a", "b"))
        sends = [bench.sending(key, payload) for key in "ab" for payload in ("1", "2", "1")]
        if together:
            outcomes = await bench.together(*sends)
        else:
            outcomes = await asyncio.gather(*map(bench.perform, sends), return_exceptions=True)
        assert [isinstance(each, Conflict) for each in outcomes] == [False, True, False] * 2
        assert [await flows.output(run_id, ref) for ref in "ab"] == [1, 1]
        assert await flows.work() == 1
        assert await flows.states(run_id) == "ccc"
