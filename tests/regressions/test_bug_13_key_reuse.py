"""A key cannot be used again until purge; one tenant's key collides with another's. Here a key is free
as soon as its wait is settled, and keys belong to a project."""

from __future__ import annotations

import pytest

from narrows.core.states import TriggerStatus
from tests.storage.kit import Backend, opened


@pytest.mark.parametrize("end", ["cancel", "receive", "time_out"])
async def test_a_settled_key_is_free_at_once(backend: Backend, end: str) -> None:
    async with opened(backend) as bench:
        first = await bench.open("a", 60)
        if end == "cancel":
            await bench.perform(bench.canceling("a"))
        elif end == "receive":
            await bench.send("a")
        else:
            bench.clock.advance_to(first.expires_at)
        second = await bench.open("a", 60)
        assert (second.status, second.ordinal) == (TriggerStatus.WAITING, 2)
        assert (await bench.get("a")).id == second.id


async def test_projects_do_not_see_each_others_keys(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.project("other")
        await bench.together(bench.opening("a", 0), bench.opening("a", 0, project_id="other"))
        await bench.together(bench.sending("a", "1"), bench.sending("a", "2", project_id="other"))
        assert (await bench.get("a")).response_payload == "1"
        assert (await bench.get("a", "other")).response_payload == "2"
