"""Canceling, extending and timing out; and that the first settling is the only one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from narrows.core.records import NEVER
from narrows.core.states import FactKind, TriggerStatus
from narrows.errors import Conflict, NotFound
from narrows.operations.base import DEV
from narrows.operations.triggers import ExtendTrigger
from tests.storage.kit import PROJECT, Backend, Bench, opened


def _extending(bench: Bench, trigger_id: str, timeout_secs: int) -> ExtendTrigger:
    return ExtendTrigger(
        actor=DEV,
        project_id=PROJECT,
        entropy=bench.entropy(),
        trigger_id=trigger_id,
        timeout_secs=timeout_secs,
    )


@pytest.mark.parametrize("by", ["key", "id"])
async def test_canceling_settles_a_waiting_trigger(backend: Backend, by: str) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a")
        cancel = bench.canceling("a") if by == "key" else bench.canceling(trigger_id=trigger.id)
        canceled = (await bench.perform(cancel)).trigger
        assert canceled == await bench.get("a")
        assert (canceled.status, canceled.error) == (TriggerStatus.CANCELED, "canceled by user")
        assert canceled.received_at is None
        with pytest.raises(Conflict, match="already canceled"):
            await bench.perform(cancel)


async def test_canceling_what_is_unknown_is_not_found(backend: Backend) -> None:
    async with opened(backend) as bench:
        for cancel in (bench.canceling("a"), bench.canceling(trigger_id="x")):
            with pytest.raises(NotFound):
                await bench.perform(cancel)


async def test_extending_counts_from_now(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        bench.clock.advance(secs=30)
        extended = (await bench.perform(_extending(bench, trigger.id, 100))).trigger
        assert extended == await bench.get("a")
        assert extended.expires_at == bench.clock.now() + 100_000_000
        assert extended.timeout_secs == 130
        assert bench.commits[-1].facts[0].previous_id == trigger.last_fact_id
        endless = (await bench.perform(_extending(bench, trigger.id, 0))).trigger
        assert (endless.expires_at, endless.timeout_secs, endless.version) == (NEVER, 0, 3)


async def test_extending_what_is_settled_is_a_conflict(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a")
        await bench.send("a")
        with pytest.raises(Conflict):
            await bench.perform(_extending(bench, trigger.id, 100))
        with pytest.raises(NotFound):
            await bench.perform(_extending(bench, "x", 100))


async def test_an_extension_and_a_settling_in_one_commit_are_both_kept(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        extended, sent = await bench.together(_extending(bench, trigger.id, 500), bench.sending("a", "1"))
        stored = await bench.get("a")
        assert stored == sent.trigger
        assert stored.expires_at == extended.trigger.expires_at
        assert stored.timeout_secs == extended.trigger.timeout_secs


async def test_an_overdue_trigger_is_timed_out(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        bench.clock.advance_to(trigger.expires_at)
        assert await bench.perform(bench.expiring(trigger)) == 1
        stored = await bench.get("a")
        assert (stored.status, stored.settled_at) == (TriggerStatus.TIMED_OUT, trigger.expires_at)
        assert (stored.error, stored.received_at) == ("no event within 60 s", None)
        assert [fact.kind for fact in bench.commits[-1].facts] == [FactKind.TRIGGER_TIMED_OUT]


async def test_nothing_is_timed_out_early(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        bench.clock.advance_to(trigger.expires_at - 1)
        assert await bench.perform(bench.expiring(trigger)) == 0
        assert (await bench.get("a")).status == TriggerStatus.WAITING


async def test_expiring_what_is_gone_or_settled_does_nothing(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        await bench.send("a", "1")
        bench.clock.advance(secs=120)
        assert await bench.perform(bench.expiring(trigger, trigger._replace(id="gone"))) == 0
        assert (await bench.get("a")).response_payload == "1"


async def test_an_overdue_trigger_is_settled_for_whoever_touches_it(backend: Backend) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        bench.clock.advance_to(trigger.expires_at)
        with pytest.raises(Conflict, match="already timed_out"):
            await bench.send("a", "1")
        assert (await bench.get("a")).status == TriggerStatus.TIMED_OUT
        again = await bench.open("a", 60)
        assert again.ordinal == trigger.ordinal + 1


@pytest.mark.parametrize("order", list(itertools.permutations(["send", "cancel", "extend", "open"])))
async def test_in_one_commit_the_first_settling_wins(backend: Backend, order: tuple[str, ...]) -> None:
    async with opened(backend) as bench:
        trigger = await bench.open("a", 60)
        make: dict[str, Callable[[], Any]] = {
            "send": lambda: bench.sending(None, "1", trigger_id=trigger.id),
            "cancel": lambda: bench.canceling(trigger_id=trigger.id),
            "extend": lambda: _extending(bench, trigger.id, 600),
            "open": lambda: bench.opening("a"),
        }
        outcomes = dict(zip(order, await bench.together(*(make[name]() for name in order)), strict=True))
        first = min(order.index("send"), order.index("cancel"))
        winner = TriggerStatus.RECEIVED if order[first] == "send" else TriggerStatus.CANCELED
        loser = "cancel" if order[first] == "send" else "send"
        assert isinstance(outcomes[loser], Conflict)
        assert isinstance(outcomes["extend"], Conflict) == (order.index("extend") > first)
        assert isinstance(outcomes["open"], Conflict) == (order.index("open") < first)
        stored = await bench.get_by_id(trigger.id)
        assert stored.status == winner
        settling = [
            fact.kind
            for commit in bench.commits
            for fact in commit.facts
            if fact.version == stored.version and fact.subject_id == trigger.id
        ]
        assert settling == [f"trigger.{winner}"]
