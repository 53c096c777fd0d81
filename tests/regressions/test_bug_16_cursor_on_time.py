"""A cursor on a time alone skips rows with equal times. Here the cursor is an id, and a thousand waits of
one commit, all of one instant, are listed once each."""

from __future__ import annotations

import pytest

from tests.storage.kit import Backend, opened


@pytest.mark.parametrize("limit", [1, 7, 50])
async def test_rows_of_one_instant_are_all_listed_once(backend: Backend, limit: int) -> None:
    async with opened(backend) as bench:
        await bench.together(*(bench.opening(f"k{number}", 0) for number in range(60)))
        listed = await bench.listed(limit=limit)
        assert len({trigger.requested_at for trigger in listed}) == 1
        assert sorted(t.event_key for t in listed) == sorted(f"k{number}" for number in range(60))
        assert [t.id for t in listed] == sorted((t.id for t in listed), reverse=True)
