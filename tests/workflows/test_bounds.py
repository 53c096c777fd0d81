"""What one definition, one workflow run and one project may come to: each bound, and what its refusal says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.states import WORKFLOW_RUN_ENDED
from narrows.engine.consume import ConsumeMessagesRole
from narrows.errors import LimitReached
from narrows.storage.transaction import Limits
from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


def _starts(slug: str, times: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        step(f"s{number}", type="sub_workflow", workflow_slug=slug, on_failure="continue", **fields)
        for number in range(times)
    ]


async def test_a_workflow_that_starts_itself_five_times_comes_to_its_end(backend: Backend) -> None:
    """Within 10 levels it would be 5 to the power of 10 runs; it had made 3,743 in 60 rounds of messages."""
    async with opened(backend, limits=Limits(descendants=37)) as bench:
        flows = Workflows(bench)
        # That a step is tried again lets nothing more descend.
        run_id = await flows.begin(*_starts("w", 5, retry_max_attempts=3))
        other = ConsumeMessagesRole(bench.service)
        while await bench.service.read(flows.pending):
            await asyncio.gather(flows._messages.round(), other.round())
        runs = await flows.listed()
        assert len(runs) == 1 + 37
        assert {run.status for run in runs} == {"completed"}
        assert {run.top_run_id for run in runs if run.id != run_id} == {run_id}
        errors = [row.error for run in runs for row in (await flows.steps(run.id)).values() if row.error]
        assert len(errors) == 5 * 38 - 37
        said = f"37 workflow runs descend from {run_id} already, the most allowed; trigger the others by"
        assert all(error.startswith(said) for error in errors)


async def test_a_project_may_have_so_many_workflow_runs_that_go_on(backend: Backend) -> None:
    async with opened(backend, limits=Limits(workflow_runs_per_project=3)) as bench:
        flows = Workflows(bench)
        await flows.define(wait("in", key="in:{{workflow_run_id}}"))
        await flows.define(*_starts("w", 3), slug="above")
        above = await flows.start(slug="above")
        await flows.messages()
        rows = (await flows.steps(above)).values()
        started = [row for row in rows if row.error is None]
        assert len(started) == 2
        (error,) = [row.error for row in rows if row.error is not None]
        assert error.startswith("The project has 3 workflow runs that go on, the most allowed.")
        with pytest.raises(LimitReached, match="cancel them: GET /v1/workflow-runs"):
            await flows.start()
        # What ends makes room.
        await flows.cancel(above)
        await flows.start()
        with pytest.raises(LimitReached):
            await flows.again(above)
        below = await flows.child(above, started[0].step_ref)
        await flows.messages()
        # A sub-workflow that is tried again by itself stands at the top of its own.
        assert below.top_run_id == above
        assert (await flows.run(await flows.again(below.id))).top_run_id is None
        assert sum(run.status not in WORKFLOW_RUN_ENDED for run in await flows.listed()) == 2
