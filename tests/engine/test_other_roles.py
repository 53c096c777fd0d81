"""The roles that need no exact time: held events, retention, unmatched events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.records import UnmatchedEvent
from narrows.engine import held, prune, unmatched
from narrows.engine.held import ExpireHeldEventsRole
from narrows.engine.loop import Engine
from narrows.engine.prune import DAY_US, PERIOD_US, PruneRole
from narrows.engine.roles import all_roles
from narrows.engine.unmatched import PAUSE_US, UnmatchedBuffer, WriteUnmatchedRole
from narrows.errors import Unavailable
from narrows.operations.retention import PruneTriggers
from narrows.testing import ManualClock
from tests.engine.fakes import FakeService, table_of

SECOND_US = 1_000_000


@pytest.fixture
def service() -> Any:
    return FakeService(ManualClock())


def event(number: int) -> UnmatchedEvent:
    return UnmatchedEvent("p", f"{number:06}", "k", "no_wait", None, None, None, "dev", 0)


async def test_held_events_go_at_their_time(service: Any) -> None:
    role = ExpireHeldEventsRole(service)
    assert await role.round() is None
    due = service.clock.now() + 3 * SECOND_US
    service.hold(1, due)
    service.hold(2, due + SECOND_US)
    assert await role.round() == due
    service.clock.advance_to(due)
    assert await role.round() == due + SECOND_US
    assert list(service.held) == ["000002"]


async def test_a_held_event_wakes_the_role(service: Any) -> None:
    role = ExpireHeldEventsRole(service)
    woken: list[int | None] = []
    service.feed.subscribe(lambda committed: woken.append(role.wakes(committed)))
    service.hold(1, 77)
    assert woken == [77]


async def test_many_held_events_go_in_bounded_operations(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "EVENTS_AN_OPERATION", 4)
    for number in range(9):
        service.hold(number, service.clock.now())
    role = ExpireHeldEventsRole(service)
    assert [await role.round() for _ in range(3)] == [service.clock.now()] * 2 + [None]
    assert [len(operation.ids) for operation in service.performed] == [4, 4, 1]


async def test_retention_is_kept_in_small_commits_that_are_spread_out(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "ROWS_AN_OPERATION", 10)
    service.old_rows = {None: 25, "runs": 3, "facts": 5, "stream_tokens": 1}
    role, now = PruneRole(service, retention_days=30), service.clock.now()
    due = now
    while due < now + PERIOD_US:
        due = await role.round() or 0
        assert due > service.clock.now(), "there is a pause after every commit"
    assert role.deleted == 34
    assert set(service.old_rows.values()) == {0}
    asked = [table_of(each) for each in service.pruned]
    assert asked[:4] == [None, None, None, "runs"]
    ages = {table_of(each): now - each.before for each in service.pruned}
    assert ages == {
        None: 30 * DAY_US,
        "runs": 30 * DAY_US,
        "workflow_runs": 30 * DAY_US,
        "deliveries": 30 * DAY_US,
        "facts": 30 * DAY_US,
        "unmatched_events": 30 * DAY_US,
        "idempotency_records": DAY_US,
        "stream_tokens": 3_600 * SECOND_US,
    }
    assert isinstance(service.pruned[0], PruneTriggers)


async def test_unmatched_events_are_written_about_once_a_second(service: Any) -> None:
    buffer = UnmatchedBuffer()
    role = WriteUnmatchedRole(service, buffer)
    nudged: list[int] = []
    role.nudge = nudged.append
    assert await role.round() is None
    buffer.add(event(1))
    buffer.add(event(2))
    assert nudged == [service.clock.now() + PAUSE_US]
    assert service.performed == [], "adding costs the send nothing"
    assert await role.round() is None
    (operation,) = service.performed
    assert operation.events == (event(1), event(2))


async def test_a_stop_writes_what_has_gathered(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmatched, "EVENTS_AN_OPERATION", 2)
    buffer = UnmatchedBuffer()
    engine = Engine(service, (WriteUnmatchedRole(service, buffer),))
    engine.start()
    await asyncio.sleep(0)
    for number in range(5):
        buffer.add(event(number))
    await engine.stop()
    assert len(buffer) == 0
    written = [each for operation in service.performed for each in operation.events]
    assert written == [event(number) for number in range(5)]


async def test_a_store_that_refuses_does_not_keep_the_engine_from_stopping(service: Any) -> None:
    buffer = UnmatchedBuffer()
    engine = Engine(service, (WriteUnmatchedRole(service, buffer),))
    engine.start()
    await asyncio.sleep(0)
    buffer.add(event(1))

    def full(operation: Any) -> None:
        raise Unavailable("The disk is full.")

    service.refuse = full
    await engine.stop()
    assert len(buffer) == 1


def test_the_buffer_is_bounded_and_counts_what_it_drops() -> None:
    buffer = UnmatchedBuffer(capacity=3)
    for number in range(5):
        buffer.add(event(number))
    assert (len(buffer), buffer.dropped) == (3, 2)
    taken = buffer.take(2)
    buffer.add(event(9))
    buffer.put_back(taken)
    assert (len(buffer), buffer.dropped) == (3, 3)
    assert buffer.take(9) == (event(1), event(2), event(9)), "the oldest had to go"


async def test_what_could_not_be_written_is_kept_for_the_next_time(service: Any) -> None:
    buffer = UnmatchedBuffer()
    role = WriteUnmatchedRole(service, buffer)
    buffer.add(event(1))

    def full(operation: Any) -> None:
        raise Unavailable("The queue is full.")

    service.refuse = full
    with pytest.raises(Unavailable):
        await role.round()
    assert len(buffer) == 1


def test_every_role_is_in_the_table_under_a_name_of_its_own(service: Any) -> None:
    names = [role.name for role in all_roles(service, UnmatchedBuffer(), 30)]
    assert names == [
        "expire",
        "expire held events",
        "wake runs",
        "expire workflow runs",
        "consume messages",
        "write unmatched",
        "prune",
    ]
