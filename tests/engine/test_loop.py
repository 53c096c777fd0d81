"""The loop of the roles: exact waits, early wake-ups, the safety poll, errors, the stop."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from narrows.engine.feed import Feed
from narrows.engine.loop import LONGEST_PAUSE_US, SAFETY_POLL_US, Engine, Role
from narrows.errors import Unavailable
from narrows.storage.committed import Committed
from narrows.testing import ManualClock, settle


def commit(now: int = 0) -> Committed:
    return Committed((), (), (), (), operations=1, now=now, commit_secs=0.0)


class Scripted(Role):
    """A role whose rounds return, or raise, what the script says; the last line is repeated."""

    name = "scripted"

    def __init__(self, clock: ManualClock, *script: Any) -> None:
        self.clock = clock
        self.script = list(script)
        self.rounds: list[int] = []
        self.brings: int | None = None

    async def round(self) -> int | None:
        self.rounds.append(self.clock.now())
        line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(line, Exception):
            raise line
        return None if line is None else self.clock.now() + int(line)

    def wakes(self, committed: Committed) -> int | None:
        return self.brings


def an_engine(clock: ManualClock, *roles: Role) -> tuple[Engine, Feed]:
    feed = Feed()
    service: Any = SimpleNamespace(feed=feed, clock=clock)
    return Engine(service, roles), feed


async def test_a_round_comes_exactly_when_it_is_due() -> None:
    clock = ManualClock()
    role = Scripted(clock, 5_000_000)
    engine, _ = an_engine(clock, role)
    start = clock.now()
    engine.start()
    await settle()
    clock.advance(us=4_999_999)
    await settle()
    assert role.rounds == [start]
    clock.advance(us=1)
    await settle()
    assert role.rounds == [start, start + 5_000_000]
    await engine.stop()


async def test_a_commit_that_is_due_sooner_wakes_the_role() -> None:
    clock = ManualClock()
    role = Scripted(clock, None)
    engine, feed = an_engine(clock, role)
    engine.start()
    await settle()
    role.brings = clock.now() + 2_000_000
    feed.publish(commit())
    await settle()
    assert len(role.rounds) == 1
    clock.advance(secs=2)
    await settle()
    assert len(role.rounds) == 2
    await engine.stop()


async def test_a_nudge_during_a_round_is_not_lost() -> None:
    clock = ManualClock()

    class Slow(Role):
        name = "slow"
        rounds = 0

        async def round(self) -> int | None:
            self.rounds += 1
            if self.rounds == 1:
                self.nudge(clock.now() + 1_000_000)
            return None

    role = Slow()
    engine, _ = an_engine(clock, role)
    engine.start()
    await settle()
    clock.advance(secs=1)
    await settle()
    assert role.rounds == 2
    await engine.stop()


async def test_the_safety_poll_comes_without_any_wake_up() -> None:
    clock = ManualClock()
    role = Scripted(clock, None)
    engine, _ = an_engine(clock, role)
    engine.start()
    await settle()
    clock.advance(us=SAFETY_POLL_US - 1)
    await settle()
    assert len(role.rounds) == 1
    clock.advance(us=1_000)
    await settle()
    assert len(role.rounds) == 2
    await engine.stop()


async def test_an_error_is_logged_counted_and_retried_with_a_growing_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    role = Scripted(clock, ValueError("broken"))
    engine, feed = an_engine(clock, role)
    with caplog.at_level(logging.ERROR, "narrows.engine"):
        engine.start()
        await settle()
        role.brings = clock.now()
        feed.publish(commit())
        await settle()
        assert len(role.rounds) == 1, "a commit does not hurry a role that fails"
        for _ in range(2000):
            clock.advance(us=10_000)
            await settle(6)
    (stats,) = engine.stats()
    pauses = [later - earlier for earlier, later in zip(role.rounds, role.rounds[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert LONGEST_PAUSE_US <= pauses[-1] < LONGEST_PAUSE_US + 20_000
    assert stats.errors == stats.consecutive_errors == len(role.rounds)
    assert stats.last_error == "ValueError: broken"
    assert sum(record.exc_info is not None for record in caplog.records) == 1
    role.script = [None]
    clock.advance(us=LONGEST_PAUSE_US)
    await settle()
    assert stats.consecutive_errors == 0
    assert stats.rounds == 1
    await engine.stop()


async def test_a_database_that_is_away_is_told_in_a_line_without_a_stack_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    engine, _ = an_engine(clock, Scripted(clock, Unavailable("The database cannot be reached.")))
    with caplog.at_level(logging.ERROR, "narrows.engine"):
        engine.start()
        await settle()
    (record,) = caplog.records
    assert record.exc_info is None
    assert "The database cannot be reached." in record.getMessage()
    await engine.stop()


async def test_stop_lets_a_round_end_and_starts_no_other() -> None:
    clock = ManualClock()
    release = asyncio.Event()

    class Busy(Role):
        name = "busy"
        ended = 0

        async def round(self) -> int | None:
            await release.wait()
            self.ended += 1
            return clock.now()

    role = Busy()
    engine, feed = an_engine(clock, role)
    engine.start()
    await settle()
    stopping = asyncio.create_task(engine.stop())
    await settle()
    assert not stopping.done()
    release.set()
    await stopping
    assert role.ended == 1
    feed.publish(commit())


async def test_stop_is_quick_when_every_role_sleeps() -> None:
    clock = ManualClock()
    engine, _ = an_engine(clock, Scripted(clock, None), Scripted(clock, 10**12))
    engine.start()
    await settle()
    await engine.stop()
    assert clock.next_due is None
