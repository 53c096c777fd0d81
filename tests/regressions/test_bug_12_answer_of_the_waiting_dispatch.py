"""The 2xx of the dispatch that asked to wait completes the run that was resumed meanwhile. Here a granted wait
ends its dispatch: whatever still comes of it changes nothing."""

from __future__ import annotations

import pytest

from tests.storage.kit import Backend, opened
from tests.storage.runs import Runs


@pytest.mark.parametrize("state", ["waiting", "queued", "executing", "waiting again"])
@pytest.mark.parametrize("completed", [True, False])
async def test_the_answer_of_a_dispatch_that_asked_to_wait_is_dropped(
    backend: Backend, state: str, completed: bool
) -> None:
    async with opened(backend) as bench:
        runs = Runs(bench)
        await runs.put(endpoint_url="http://127.0.0.1:1/")
        first = await runs.dispatch(holder="server:s")
        await runs.wait(first, "k")
        if state != "waiting":
            await bench.send("k")  # the event comes before the 2xx
        if state in ("executing", "waiting again"):
            (second,) = await runs.claim(holder="server:s")
            if state == "waiting again":
                await runs.wait(second, "other")
        before = await runs.get(first)
        assert await runs.finish(first, completed=completed, result='"answer"', error="503") is None
        assert await runs.get(first) == before
        assert before.status == state.split(maxsplit=1)[0]
