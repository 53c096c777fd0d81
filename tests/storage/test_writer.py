"""The writer: order, splitting, stamps and retries, driven inline on a real connection; and
what becomes of the store's threads when something fails that should not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from narrows.core.records import Project, Trigger
from narrows.errors import (
    Conflict,
    InternalError,
    InvariantViolated,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from narrows.operations.access import CreateProject
from narrows.operations.base import DEV
from narrows.operations.triggers import OpenTrigger
from narrows.storage import checkpoint, sqlite
from narrows.storage.backend import run_now
from narrows.storage.lookups import TriggerTag
from narrows.storage.queued import Ticket
from narrows.storage.transaction import Limits, Transaction
from narrows.storage.verify import verify
from narrows.storage.writer import Outcome, Writer
from narrows.testing import ManualClock
from tests.storage.kit import SqliteBackend, opened
from tests.storage.steps import Step


class Inline:
    """A writer and its connection without threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        raw = sqlite.connect(path)
        sqlite.migrate(raw, self.clock.now())
        self.connection = sqlite.SqliteConnection(raw, self.clock)
        self.writer = Writer(self.clock, Limits(), max_queue=10, max_queue_bytes=1_000)

    def execute(self, *operations: Any) -> list[Outcome]:
        tickets = [Ticket(operation, operation.touches(), None) for operation in operations]
        results = run_now(self.writer.execute(self.connection, tickets))
        self.commits = [result.committed for result in results if result.committed]
        return [outcome for result in results for outcome in result.outcomes]

    def count(self, table: str) -> int:
        found: int = self.connection.raw.execute(f"select count(*) from {table}").get
        return found


@pytest.fixture
def inline(tmp_path: Path) -> Iterator[Inline]:
    inline = Inline(tmp_path / "n.db")
    inline.execute(CreateProject(actor=DEV, id="default", entropy=1))
    yield inline
    inline.connection.raw.close()
    assert verify(inline.path) == []


def _opening(key: str) -> OpenTrigger:
    return OpenTrigger(
        actor=DEV, project_id="default", event_key=key, timeout_secs=0, entropy=hash(key) & 0xFFFF
    )


def _saving(project_id: str, then: BaseException | None = None) -> Step:
    def does(tx: Transaction) -> str:
        tx.save(Project(project_id, None, tx.now))
        if then is not None:
            raise then
        return project_id

    return Step(does=does)


def _tagging() -> Step:
    """Saves a row that it has not asked for."""
    return Step(does=lambda tx: tx.save(TriggerTag("default", "name", "value", "an id")))


@pytest.mark.parametrize("error", [RuntimeError("bug"), InvariantViolated("bug"), Conflict("late refusal")])
def test_an_operation_that_fails_half_way_harms_nobody_else(inline: Inline, error: Exception) -> None:
    outcomes = inline.execute(_opening("a"), _saving("half", then=error), _opening("b"))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert isinstance(
        outcomes[1].error, type(error) if not isinstance(error, RuntimeError) else InternalError
    )
    assert inline.count("projects") == 1
    assert inline.count("triggers") == 2
    assert len(inline.commits) == 2


def test_a_late_refusal_counts_as_a_violated_invariant(inline: Inline) -> None:
    inline.execute(_saving("half", then=NotFound("late")))
    assert inline.writer.invariant_violations > 0


def test_an_operation_that_fails_at_once_splits_nothing(inline: Inline) -> None:
    def fail(tx: Transaction) -> None:
        raise RuntimeError("bug")

    outcomes = inline.execute(_opening("a"), Step(does=fail), _opening("b"))
    assert isinstance(outcomes[1].error, InternalError)
    assert len(inline.commits) == 1


def test_a_refused_operation_has_saved_nothing(inline: Inline) -> None:
    outcomes = inline.execute(_opening("a"), _opening("a"))
    assert isinstance(outcomes[1].error, Conflict)
    assert (inline.count("triggers"), inline.count("facts")) == (1, 2)
    inline.execute(_opening("a"))
    assert inline.commits[0].facts == ()


def test_a_constraint_that_fails_is_tried_again_and_then_one_at_a_time(
    inline: Inline, caplog: pytest.LogCaptureFixture
) -> None:
    """Two that saw no row insert the same one: an operation that named too few touches."""
    inline.execute(_tagging())
    outcomes = inline.execute(_opening("a"), _tagging(), _opening("b"))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert type(outcomes[1].error) is InternalError  # it is so each time: a fault, and no race
    assert inline.count("triggers") == 2
    # A tag of no trigger is what verify looks for.
    inline.connection.raw.execute("delete from trigger_tags")


def test_a_text_that_no_database_can_hold_harms_nobody_else(inline: Inline) -> None:
    outcomes = inline.execute(_opening("a"), _opening("\ud800"), _saving("p\ud800"), _opening("b"))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]


def test_a_row_that_does_not_change_as_told_gives_the_commit_up(inline: Inline) -> None:
    (opened_,) = inline.execute(_opening("a"))
    trigger: Trigger = opened_.value.trigger
    inline.connection.raw.execute("begin; delete from triggers; commit")
    try:

        def settle(tx: Transaction) -> None:
            tx.loaded("triggers_by_id", [tuple(trigger)])
            tx.save(trigger._replace(status="canceled", settled_at=tx.now, version=2))  # type: ignore[arg-type]

        (outcome,) = inline.execute(Step(does=settle))
        assert isinstance(outcome.error, InternalError)
        assert inline.writer.invariant_violations > 0
    finally:
        inline.connection.raw.execute("delete from counters")


def test_stamps_rise_strictly_whatever_the_clock_does(inline: Inline) -> None:
    stamps = []
    for move in (0, 5, -3_600, -1, 0, 0, 7_200):
        if move >= 0:
            inline.clock.advance(secs=move)
        else:
            inline.clock.step_wall_back(secs=-move)
        (outcome,) = inline.execute(Step(does=lambda tx: tx.now))
        stamps.append(outcome.value)
    assert stamps == sorted(set(stamps))
    assert stamps[-1] >= inline.clock.now() - 1
    assert inline.writer.clock_step_back_us == 0


STEPS = [
    "begin",
    "loaded",
    "applied",
    "wrote insert_triggers",
    "wrote insert_facts",
    "wrote add_counters",
    "flushed",
]


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", [*STEPS, "committed"])
def test_a_crash_at_any_step_leaves_all_or_nothing(tmp_path: Path, step: str) -> None:
    inline = Inline(tmp_path / "n.db")
    inline.execute(CreateProject(actor=DEV, id="default", entropy=1))
    reached = []

    def fail(name: str) -> None:
        reached.append(name)
        if name == step:
            raise Crash

    inline.writer.failpoint = fail
    with pytest.raises(Crash):
        inline.execute(_opening("a"), _opening("b"))
    assert reached[-1] == step
    inline.connection.raw.close()
    again = Inline(tmp_path / "n.db")
    assert again.count("triggers") == (2 if step == "committed" else 0)
    assert again.count("facts") == (3 if step == "committed" else 1)
    again.connection.raw.close()
    assert verify(tmp_path / "n.db") == []


# ---- the threads -----------------------------------------------------------------------------


async def test_whatever_kills_the_writer_nobody_waits_for_ever(tmp_path: Path) -> None:
    fatal: list[str] = []
    async with opened(SqliteBackend(tmp_path), on_fatal=fatal.append) as bench:
        await bench.open("a", 0)

        def fail(step: str) -> None:
            bench.gate(step)
            if step == "committed":
                raise Crash("gone")

        bench.gate.shut()
        bench.store.writer.failpoint = fail
        running = asyncio.create_task(bench.open("b", 0))
        await bench.gate.reached()
        queued = asyncio.create_task(bench.open("c", 0))
        await asyncio.sleep(0)
        bench.gate.open()
        with pytest.raises(OutcomeUnknown):
            await running
        with pytest.raises(Unavailable):
            await queued
        with pytest.raises(Unavailable, match="start again"):
            await bench.open("d", 0)
        while not fatal:  # told from the writer's thread, after everybody was answered
            await asyncio.sleep(0)
        assert len(fatal) == 1
        assert [trigger.event_key for trigger in await bench.listed()] == ["b", "a"]
    assert verify(tmp_path / "narrows.db") == []


async def test_a_checkpoint_whose_sync_failed_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_PASSIVE_PAGES", 1)
    died = asyncio.Event()
    calls: list[int] = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(5, "Input/output error")

    async with opened(SqliteBackend(tmp_path), on_fatal=lambda reason: died.set(), project=False) as bench:
        monkeypatch.setattr(os, "fdatasync", fail)
        await bench.project()
        await asyncio.wait_for(died.wait(), 30)
        monkeypatch.undo()
        assert len(calls) == 1
        with pytest.raises(Unavailable, match="checkpoint"):
            await bench.open("a")
    async with opened(SqliteBackend(tmp_path)) as bench:
        await bench.open("a", 0)
    assert verify(tmp_path / "narrows.db") == []


async def test_a_request_that_was_given_up_is_done_all_the_same_and_blocks_nobody(tmp_path: Path) -> None:
    async with opened(SqliteBackend(tmp_path)) as bench:
        bench.gate.shut()
        given_up = asyncio.create_task(bench.open("a", 0))
        await bench.gate.reached()
        given_up.cancel()
        bench.gate.open()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await bench.open("b", 0)).event_key == "b"
        assert [trigger.event_key for trigger in await bench.listed()] == ["b", "a"]
