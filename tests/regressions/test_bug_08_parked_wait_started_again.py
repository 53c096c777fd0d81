"""Bug 8: a parked wait counted as runnable; when a sibling step ended it was started again, and the workflow
stalled."""

from __future__ import annotations

from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


async def test_a_parked_wait_is_not_started_again_when_a_sibling_ends(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(
            step("sibling"), wait("parked"), wait("other"), step("after", "sibling", "parked", "other")
        )
        parked = await bench.get("parked")
        await flows.work()
        await bench.send("other")
        assert await flows.states(run_id) == "cwcp"
        again = await bench.get("parked")
        assert (again.id, again.ordinal, again.status) == (parked.id, 1, "waiting")
        await bench.send("parked")
        assert await flows.states(run_id) == "cccr"
        kinds = [fact.kind for commit in bench.commits for fact in commit.facts]
        assert kinds.count("step.waiting") == 2


async def test_a_step_that_depends_on_many_starts_once_whatever_ends_together(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(
            wait("a"), wait("b", "a"), wait("c", "a"), step("d", "b", "c"), wait("e", "d")
        )
        await bench.send("a")
        await bench.together(bench.sending("c", "1"), bench.sending("b", "1"))
        assert await flows.states(run_id) == "cccrp"
        assert await flows.work() == 1
        assert await flows.states(run_id) == "ccccw"
