"""Corners where a workflow run could stand still, or hold up others: what is taken, held, full, or at fault."""

from __future__ import annotations

from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, wait


async def test_a_chain_of_steps_whose_keys_others_wait_under_is_followed_to_its_end(backend: Backend) -> None:
    """On PostgreSQL each of these keys shows only in its turn whose wait has to be locked."""
    async with opened(backend) as bench:
        flows = Workflows(bench)
        keys = [f"k{number}" for number in range(12)]
        for key in keys:
            await bench.open(key, timeout_secs=0)
        chain = [
            wait(key, before, on_failure="continue") for before, key in zip(["in", *keys], keys, strict=False)
        ]
        run_id = await flows.begin(wait("in"), *chain)
        await bench.send("in", "1")
        assert await flows.states(run_id) == "c" + "f" * 12
