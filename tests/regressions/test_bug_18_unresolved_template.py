"""Bug 18: a template that did not resolve became a literal key; the first run waited on it, the second collided."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.errors import InvalidRequest
from tests.storage.kit import Backend, opened
from tests.workflows.kit import Workflows, step, wait


async def test_what_cannot_resolve_refuses_the_start_and_opens_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.define(wait("w", key="kyc:{{payload.user.id}}"))
        payloads: list[Any] = [None, {}, {"user": {}}, {"user": "u"}, {"user": {"id": None}}]
        for payload in payloads:
            with pytest.raises(InvalidRequest) as refused:
                await flows.start(payload)
            assert any("{{payload.user.id}}" in fault for fault in refused.value.details)
        assert await bench.listed() == []
        assert await flows.listed() == []


async def test_what_only_a_step_could_have_told_fails_that_step_by_name(backend: Backend) -> None:
    async with opened(backend) as bench:
        flows = Workflows(bench)
        await flows.job()
        await flows.define(step("a"), wait("w", "a", key="k:{{parent_outputs.a.id}}"))
        first, second = await flows.start(), await flows.start()
        await flows.work({"other": 1})
        for run_id in (first, second):
            run = await flows.run(run_id)
            assert run.status == "failed"
            assert "{{parent_outputs.a.id}}" in (run.error or "")
        assert await bench.listed() == []
