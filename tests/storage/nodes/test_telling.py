"""What a node tells the others, where its hints do not reach them: they look at the tables instead."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.storage import membership
from narrows.storage.committed import Committed
from narrows.storage.news import Interests
from tests.storage.kit import Bench, PostgresBackend
from tests.storage.nodes.kit import node, until


def _looks(bench: Bench) -> list[Committed]:
    """Each time that this node looks at the tables, since it may have missed something."""
    looks: list[Committed] = []

    def hear(committed: Committed) -> None:
        if committed.elsewhere is not None and committed.elsewhere.missed:
            looks.append(committed)

    bench.feed.subscribe(hear)
    return looks


async def test_who_has_just_come_looks_for_what_was_committed_before_he_was_known(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "LEASE_US", 60_000_000)  # the other must not take it for dead either
    async with node(database) as one:
        (beating,) = (task for task in one.store._others if task.get_name() == "narrows-membership")
        beating.cancel()
        async with node(database) as other:
            looks = _looks(other)
            other.store._news.look()
            await until(
                lambda: looks and other.store._news.is_listening and not other.store._news._queue.qsize()
            )
            trigger = await one.open("a", 0)
            other.store._news._interests = lambda: Interests({trigger.id: "default"}, frozenset())
            assert not one.store.members.has_others
            before = len(looks)
            await one.store._membership.beat()
            assert one.store.members.has_others
            await until(lambda: any(each.triggers == (trigger,) for each in looks[before:]))


async def test_a_hint_that_could_not_be_sent_is_made_up_for(
    database: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(database) as one, node(database) as other:
        await until(lambda: one.store.members.has_others and other.store._news.is_listening)
        looks = _looks(other)
        teller = one.store._teller
        fetch = teller.fetch
        failed: list[int] = []

        async def fails_once(*arguments: Any) -> Any:
            if failed:
                return await fetch(*arguments)
            failed.append(len(looks))
            raise ConnectionResetError

        monkeypatch.setattr(teller, "fetch", fails_once)
        trigger = await one.open("a", 0)
        other.store._news._interests = lambda: Interests({trigger.id: "default"}, frozenset())
        await until(lambda: failed and any(each.triggers == (trigger,) for each in looks[failed[0] :]))
