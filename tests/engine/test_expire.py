"""Timing out: exactly, in bounded operations and bounded memory, and over lost news, stale reads, errors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from narrows.core.records import NEVER
from narrows.engine import expire
from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.loop import SAFETY_POLL_US, Engine
from narrows.errors import InvariantViolated, Unavailable
from narrows.operations.reads.due import DueTriggers
from narrows.operations.triggers import ExpireTriggers
from narrows.storage.committed import Committed
from narrows.storage.members import GRACE_US
from narrows.testing import ManualClock, settle
from tests.engine.fakes import FakeService

SECOND_US = 1_000_000


@pytest.fixture
def service() -> FakeService:
    return FakeService(ManualClock())


def a_role(service: FakeService) -> ExpireTriggersRole:
    role = ExpireTriggersRole(service)  # type: ignore[arg-type] # the fake stands for the service

    def hear(committed: Committed) -> None:
        role.wakes(committed)

    service.feed.subscribe(hear)
    return role


def begin_held_round(role: ExpireTriggersRole, service: FakeService) -> asyncio.Task[int | None]:
    """A round none of whose operations ends before the gate opens."""
    service.open_gate.clear()
    return asyncio.create_task(role.round())


async def rounds_until_idle(role: ExpireTriggersRole, clock: ManualClock) -> int:
    """Rounds as the loop would do them; returns when the next is due."""
    for _ in range(100):
        due = await role.round()
        await settle(2)
        if due is not None and due > clock.now():
            return due
    raise AssertionError("the role finds no end")


async def test_what_is_overdue_at_start_goes_at_once(service: FakeService) -> None:
    now = service.clock.now()
    for number in range(3):
        service.open(number, due=now - number * SECOND_US)
    role = a_role(service)
    await rounds_until_idle(role, service.clock)
    assert service.expired() == [("000002", "000001", "000000")]
    assert role.expired == role.lateness.count == 3


class TwoNodes:
    """Every trigger is the other node's, by its id."""

    is_alone = False
    settled_until = NEVER

    def grace_us(self, subject_id: str) -> int:
        return GRACE_US


async def test_what_this_node_opened_is_its_own_also_after_the_index_was_read_again(
    service: FakeService,
) -> None:
    service.members = TwoNodes()  # type: ignore[assignment] # as far as the role asks
    role = a_role(service)
    await rounds_until_idle(role, service.clock)
    due = service.clock.now() + 45 * SECOND_US
    service.open(1, due=due)
    service.clock.advance(secs=31)
    assert await rounds_until_idle(role, service.clock) == due  # after the recheck
    service.clock.advance_to(due)
    await rounds_until_idle(role, service.clock)
    assert service.expired() == [("000001",)]


async def test_what_another_node_opened_is_left_to_it_for_a_while(service: FakeService) -> None:
    service.members = TwoNodes()  # type: ignore[assignment] # as far as the role asks
    due = service.clock.now() + SECOND_US
    service.open(1, due=due)
    role = a_role(service)
    assert await rounds_until_idle(role, service.clock) == due + GRACE_US
    service.clock.advance_to(due + GRACE_US)
    await rounds_until_idle(role, service.clock)
    assert service.expired() == [("000001",)]


async def test_a_wait_that_is_opened_is_timed_out_at_its_time_and_not_before(service: FakeService) -> None:
    role = a_role(service)
    await rounds_until_idle(role, service.clock)
    due = service.clock.now() + 5 * SECOND_US
    service.open(1, due=due)
    assert await rounds_until_idle(role, service.clock) == due
    service.clock.advance_to(due - 1)
    assert await role.round() == due
    assert service.expired() == []
    service.clock.advance_to(due)
    await rounds_until_idle(role, service.clock)
    assert service.expired() == [("000001",)]


async def test_an_extension_moves_the_timer_and_a_settled_wait_has_none(service: FakeService) -> None:
    role = a_role(service)
    now = service.clock.now()
    later, sooner, gone = (service.open(number, due=now + 5 * SECOND_US) for number in range(3))
    await rounds_until_idle(role, service.clock)
    service.extend(later, now + 9 * SECOND_US)
    service.extend(sooner, now + 2 * SECOND_US)
    service.settle(gone)
    for _ in range(10):
        service.clock.advance(secs=1)
        await rounds_until_idle(role, service.clock)
    assert service.expired() == [("000001",), ("000000",)]


async def test_a_read_that_is_older_than_a_commit_does_not_undo_it(service: FakeService) -> None:
    """The page shows the due time of before the extension, and arrives after the news of it."""
    now = service.clock.now()
    trigger = service.open(1, due=now + 20 * SECOND_US)
    role = a_role(service)

    def extended_meanwhile(read: Any) -> None:
        if isinstance(read, DueTriggers):
            service.after_read = lambda read: None
            service.extend(trigger, now + 3 * SECOND_US)

    service.after_read = extended_meanwhile
    await rounds_until_idle(role, service.clock)
    service.clock.advance(secs=3)
    await rounds_until_idle(role, service.clock)
    assert service.expired() == [("000001",)]


async def test_a_lost_wake_up_is_caught_by_the_recheck(service: FakeService) -> None:
    role = a_role(service)
    await rounds_until_idle(role, service.clock)
    service.open(1, due=service.clock.now() + SECOND_US, silently=True)
    service.clock.advance(us=SAFETY_POLL_US)
    await rounds_until_idle(role, service.clock)
    assert service.expired() == [("000001",)]


async def test_a_clock_that_steps_back_between_here_and_the_commit_loses_no_timer(
    service: FakeService,
) -> None:
    role = a_role(service)
    due = service.clock.now() + SECOND_US
    service.open(1, due=due)
    await rounds_until_idle(role, service.clock)
    service.clock.advance_to(due)
    service.refuse = lambda operation: service.clock.step_wall_back(secs=0.5)
    await role.round()
    service.refuse = lambda operation: None
    assert role.expired == 0
    for _ in range(4):
        service.clock.advance(secs=0.5)
        await rounds_until_idle(role, service.clock)
    assert role.expired == 1


async def test_many_at_one_instant_go_in_bounded_operations(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expire, "PAGE", 50)
    monkeypatch.setattr(expire, "LOW", 25)
    monkeypatch.setattr(expire, "TRIGGERS_AN_OPERATION", 20)
    due = service.clock.now() + SECOND_US
    for number in range(505):
        service.open(number, due=due)
    role = a_role(service)
    service.clock.advance_to(due)
    await rounds_until_idle(role, service.clock)
    assert role.expired == 505
    assert max(map(len, service.expired())) == 20
    assert sorted(each for part in service.expired() for each in part) == [f"{n:06}" for n in range(505)]


async def test_what_becomes_due_while_an_operation_commits_does_not_wait_for_it(service: FakeService) -> None:
    now = service.clock.now()
    for number in range(3):
        service.open(number, due=now + number * expire.APART_US)
    role = a_role(service)
    round_ = begin_held_round(role, service)
    await settle()
    assert service.expired() == [("000000",)]
    service.clock.advance(us=expire.APART_US)
    await settle()
    assert service.expired() == [("000000",), ("000001",)]
    service.clock.advance(us=expire.APART_US)
    service.open_gate.set()
    await round_
    assert role.expired == 3
    assert service.expired()[2:] == [("000002",)], "none of them is asked for twice"


async def test_a_commit_that_takes_long_holds_up_none_that_are_due_meanwhile(service: FakeService) -> None:
    now = service.clock.now()
    for number in range(5):
        service.open(number, due=now + number * SECOND_US)
    role = a_role(service)
    round_ = begin_held_round(role, service)
    for _ in range(4 * SECOND_US // expire.APART_US + 10):
        await settle(4)
        service.clock.advance(us=expire.APART_US)
    assert len(service.expired()) == 5
    service.open_gate.set()
    await round_
    assert role.expired == 5


async def test_few_triggers_are_under_way_at_once_however_many_are_due(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expire, "TRIGGERS_AN_OPERATION", 20)
    monkeypatch.setattr(expire, "TRIGGERS_UNDER_WAY", 50)
    for number in range(200):
        service.open(number, due=service.clock.now())
    role = a_role(service)
    round_ = begin_held_round(role, service)
    for _ in range(10):
        await settle()
        service.clock.advance(us=expire.APART_US)
    assert [len(part) for part in service.expired()] == [20, 20, 10]
    service.open_gate.set()
    await round_
    await rounds_until_idle(role, service.clock)
    assert role.expired == 200


async def test_a_fault_of_one_operation_leaves_those_beside_it_alone(service: FakeService) -> None:
    now = service.clock.now()
    service.open(0, due=now)
    service.open(1, due=now + expire.APART_US)
    role = a_role(service)
    round_ = begin_held_round(role, service)
    await settle()
    service.clock.advance(us=expire.APART_US)
    await settle()

    def full(operation: Any) -> None:
        if operation.ids == (("p", "000000"),):
            raise Unavailable("The queue is full.")

    service.refuse = full
    service.open_gate.set()
    with pytest.raises(Unavailable):
        await round_
    assert role.expired == 1
    service.refuse = lambda operation: None
    await rounds_until_idle(role, service.clock)
    assert role.expired == 2


async def test_memory_is_bounded_and_forgets_nobody(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expire, "PAGE", 10)
    monkeypatch.setattr(expire, "LOW", 5)
    monkeypatch.setattr(expire, "MOST_IN_MEMORY", 40)
    role = a_role(service)
    await rounds_until_idle(role, service.clock)
    now = service.clock.now()
    for number in range(300):
        service.open(number, due=now + (1 + number * 7919 % 300) * 100_000)
        assert len(role._due) <= 40
    for _ in range(310):
        service.clock.advance(us=100_000)
        await rounds_until_idle(role, service.clock)
        assert len(role._due) <= 40
    assert role.expired == 300
    assert role.lateness.quantile_secs(1.0) <= 0.0005


async def test_an_operation_that_was_not_done_is_done_again(service: FakeService) -> None:
    role = a_role(service)
    service.open(1, due=service.clock.now())

    def full(operation: Any) -> None:
        raise Unavailable("The queue is full.")

    service.refuse = full
    with pytest.raises(Unavailable):
        await role.round()
    service.refuse = lambda operation: None
    await rounds_until_idle(role, service.clock)
    assert role.expired == 1


async def test_one_that_breaks_an_invariant_keeps_nobody_else_waiting(service: FakeService) -> None:
    now = service.clock.now()
    for number in range(7):
        service.open(number, due=now)

    def poisoned(operation: Any) -> None:
        if isinstance(operation, ExpireTriggers) and any(each == "000004" for _, each in operation.ids):
            raise InvariantViolated("poisoned")

    role = a_role(service)
    service.refuse = poisoned
    await rounds_until_idle(role, service.clock)
    assert role.expired == 6
    service.clock.advance(us=SAFETY_POLL_US)
    await rounds_until_idle(role, service.clock)
    assert service.marks.get("expire", 0) < now, "a restart must still find it"
    service.refuse = lambda operation: None
    service.clock.advance(us=expire.POSTPONE_US)
    await rounds_until_idle(role, service.clock)
    assert role.expired == 7


async def test_the_mark_moves_on_behind_what_is_settled_and_a_restart_reads_from_it(
    service: FakeService,
) -> None:
    role = a_role(service)
    now = service.clock.now()
    service.open(1, due=now + SECOND_US)
    service.open(2, due=now + 200 * SECOND_US)
    await rounds_until_idle(role, service.clock)
    service.clock.advance(us=SAFETY_POLL_US)
    await rounds_until_idle(role, service.clock)
    mark = service.marks["expire"]
    assert mark == service.clock.now() - expire.MARK_SLACK_US
    for _ in range(3):
        service.clock.advance(us=SAFETY_POLL_US)
        await rounds_until_idle(role, service.clock)
    assert service.marks["expire"] == mark, "an idle server writes nothing"
    service.settle(service.waiting["000002"])
    service.clock.advance(us=SAFETY_POLL_US)
    await rounds_until_idle(role, service.clock)
    mark = service.marks["expire"]
    assert mark == service.clock.now() - expire.MARK_SLACK_US
    service.reads.clear()
    await rounds_until_idle(a_role(service), service.clock)
    first = next(read for read in service.reads if isinstance(read, DueTriggers))
    assert first.after == (mark, "", "")


async def test_in_the_loop_a_commit_wakes_it_and_stop_lets_it_finish(service: FakeService) -> None:
    engine = Engine(service, [ExpireTriggersRole(service)])  # type: ignore[arg-type] # the fake
    engine.start()
    await settle()
    service.open(1, due=service.clock.now() + SECOND_US)
    await settle()
    service.clock.advance(secs=1)
    await settle()
    assert service.expired() == [("000001",)]
    await engine.stop()
