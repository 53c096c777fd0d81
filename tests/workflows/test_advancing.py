"""A workflow run goes on in the commit of what it waited for: jobs, events, sleeps, and its end."""

from __future__ import annotations

from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


async def test_a_job_then_an_event_then_a_job(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        run_id = await flows.begin(
            step("collect"),
            wait("aml", "collect", key="aml:{{payload.user_id}}"),
            step("create", "aml", payload={"check": "{{parent_outputs.aml.verdict}}"}),
            payload={"user_id": "u1"},
        )
        assert await flows.states(run_id) == "rpp"
        assert await flows.work({"name": "Ann"}) == 1
        assert await flows.states(run_id) == "cwp"
        await bench.send("aml:u1", '{"verdict":"clear"}')
        assert await flows.states(run_id) == "ccr"
        (create,) = [run for run in await flows.job_runs(run_id) if run.status == "queued"]
        assert create.payload == (
            '{"user_id":"u1","check":"clear","parent_outputs":{"aml":{"verdict":"clear"}}}'
        )
        assert await flows.work({"account": 7}) == 1
        run = await flows.run(run_id)
        assert (run.status, run.steps, run.error) == ("completed", "ccc", None)
        assert await flows.output(run_id, "create") == {"account": 7}
