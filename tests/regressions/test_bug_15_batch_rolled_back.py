"""A batch is rolled back and still reported as resolved. Here nobody is answered before the commit, and a
commit that fails answers that nothing was done."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.core.states import TriggerStatus
from narrows.errors import NarrowsError, Unavailable
from narrows.operations.base import DEV
from narrows.operations.events import BatchEvent
from narrows.operations.prefix import SendPrefix
from narrows.storage.backend import BackendFailure
from tests.storage.kit import PROJECT, Backend, Bench, opened


def _fail_commits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise BackendFailure("the disk is full")

    for commits in ("commit", "_write_single"):
        if hasattr(bench.writing, commits):
            monkeypatch.setattr(bench.writing, commits, fail)


async def _sends(bench: Bench) -> list[Any]:
    events = (BatchEvent("p:1", "1"), BatchEvent("p:2", "2"))
    return [
        bench.service.perform(bench.batch(*events)),
        bench.service.send_prefix(SendPrefix(DEV, PROJECT, "p:", "1", bench.entropy())),
        bench.send("p:1", "1"),
    ]


async def test_a_commit_that_fails_resolves_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(backend) as bench:
        for key in ("p:1", "p:2"):
            await bench.open(key, 0)
        commits = len(bench.commits)
        _fail_commits(bench, monkeypatch)
        for send in await _sends(bench):
            with pytest.raises(Unavailable, match="Nothing was done"):
                await send
        monkeypatch.undo()
        assert len(bench.commits) == commits
        assert {t.status for t in await bench.listed()} == {TriggerStatus.WAITING}
        outcome = await bench.service.send_prefix(SendPrefix(DEV, PROJECT, "p:", "1", bench.entropy()))
        assert outcome.resolved == (await bench.stats()).received == 2


async def test_what_was_committed_before_a_failure_is_not_counted_as_the_rest(backend: Backend) -> None:
    async with opened(backend) as bench:
        await bench.open("p:1", 0)
        seen = []

        def fail(step: str) -> None:
            seen.append(step)
            if step == "applied":
                raise RuntimeError("the flush failed")

        bench.store.writer.failpoint = fail
        with pytest.raises(NarrowsError):
            await bench.service.perform(bench.batch(BatchEvent("p:1", "1")))
        bench.store.writer.failpoint = lambda step: None
        assert (await bench.get("p:1")).status == TriggerStatus.WAITING
