"""Unmatched events as they are written: what is kept has an end, project by project."""

from __future__ import annotations

import pytest

from narrows.core.records import UnmatchedEvent
from narrows.engine import unmatched
from narrows.engine.unmatched import UnmatchedBuffer, WriteUnmatchedRole
from narrows.operations.reads import ListUnmatched
from tests.storage.kit import PROJECT, Backend, Bench, opened


def _event(number: int, project_id: str = PROJECT) -> UnmatchedEvent:
    return UnmatchedEvent(project_id, f"{number:06}", "k", "no_wait", None, None, None, "dev", 0)


async def _kept(bench: Bench, project_id: str = PROJECT) -> list[str]:
    page = await bench.store.read(ListUnmatched(project_id=project_id, limit=100))
    return [each.id for each in page.items]


async def test_of_each_project_the_newest_are_kept(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmatched, "KEPT_PER_PROJECT", 3)
    async with opened(backend) as bench:
        await bench.project("other")
        buffer = UnmatchedBuffer()
        role = WriteUnmatchedRole(bench.service, buffer)
        buffer.add(_event(1, "other"))
        for number in range(8):
            buffer.add(_event(number))
        assert await role.round() is None
        assert await _kept(bench) == ["000007", "000006", "000005"]
        assert await _kept(bench, "other") == ["000001"]


async def test_a_table_that_is_too_long_becomes_short_in_bounded_commits(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(backend) as bench:
        buffer = UnmatchedBuffer()
        role = WriteUnmatchedRole(bench.service, buffer)
        for number in range(9):
            buffer.add(_event(number))
        await role.round()
        monkeypatch.setattr(unmatched, "KEPT_PER_PROJECT", 2)
        monkeypatch.setattr(unmatched, "SURPLUS_AN_OPERATION", 4)
        buffer.add(_event(9))
        left = []
        while await role.round() is not None:
            left.append(len(await _kept(bench)))
        assert left == [6, 2]
        assert await _kept(bench) == ["000009", "000008"]
