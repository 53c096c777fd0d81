"""The writer: bounds, order, splitting, stamps and retries, driven inline on a real connection; and
what becomes of the store's threads when something fails that should not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
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
from narrows.storage.lookups import Touch, TriggerTag
from narrows.storage.queued import Ticket
from narrows.storage.transaction import Limits, Transaction
from narrows.storage.verify import verify
from narrows.storage.writer import Outcome, Writer
from narrows.testing import ManualClock
from tests.storage.kit import SqliteBackend, opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An operation that does what a test says."""

    does: Any = lambda tx: None
    background: bool = False
    size_bytes: int = 0
    touched: tuple[Touch, ...] = ()

    def touches(self) -> tuple[Touch, ...]:
        return self.touched

    def apply(self, tx: Transaction) -> Any:
        return self.does(tx)


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


# ---- the queue -------------------------------------------------------------------------------


def _put(writer: Writer, *operations: Step) -> None:
    for operation in operations:
        writer.put(Ticket(operation, operation.touches(), None))


def _taken(writer: Writer) -> list[list[Any]]:
    batches = []
    while batch := writer.take_now():
        batches.append([ticket.operation for ticket in batch])
    return batches


def test_the_queue_is_bounded_in_number(inline: Inline) -> None:
    _put(inline.writer, *(Step() for _ in range(10)))
    with pytest.raises(Unavailable, match="full"):
        _put(inline.writer, Step())
    inline.writer.take_now()
    _put(inline.writer, Step())


def test_the_queue_is_bounded_in_bytes_but_takes_one_larger_alone(inline: Inline) -> None:
    _put(inline.writer, Step(size_bytes=5_000))
    with pytest.raises(Unavailable, match="full"):
        _put(inline.writer, Step(size_bytes=1))
    inline.writer.take_now()
    _put(inline.writer, Step(size_bytes=600), Step(size_bytes=400))
    with pytest.raises(Unavailable):
        _put(inline.writer, Step(size_bytes=1))


def test_background_work_is_taken_although_the_queue_is_full(inline: Inline) -> None:
    _put(inline.writer, *(Step() for _ in range(10)))
    expiry = Step(background=True, size_bytes=5_000)
    _put(inline.writer, expiry)
    assert _taken(inline.writer)[0][-1] is expiry


def test_background_work_is_not_starved_by_batches_that_are_always_full(tmp_path: Path) -> None:
    writer = Writer(ManualClock(), Limits(), max_batch=2)
    expiry = Step(background=True)
    _put(writer, *(Step() for _ in range(4)), expiry)
    first = _taken(writer)[0]
    assert len(first) == 3
    assert first[-1] is expiry


def test_background_work_comes_behind_and_one_at_a_time(inline: Inline) -> None:
    slow = [Step(background=True) for _ in range(2)]
    quick = [Step() for _ in range(3)]
    _put(inline.writer, slow[0], quick[0], slow[1], *quick[1:])
    first, second = _taken(inline.writer)
    assert first == [*quick, slow[0]]
    assert second == [slow[1]]
    assert first[-1] is slow[0]
    assert second[0] is slow[1]


def _touching(count: int) -> Step:
    return Step(background=True, touched=tuple(("triggers_by_id", str(number)) for number in range(count)))


@pytest.mark.parametrize(
    ("touched", "batches"), [([1, 20, 107, 1], [3, 1]), ([129, 1], [1, 1]), ([1, 0, 1], [1, 1, 1])]
)
def test_small_background_operations_go_together_and_a_large_or_unbounded_one_alone(
    inline: Inline, touched: list[int], batches: list[int]
) -> None:
    _put(inline.writer, *map(_touching, touched))
    assert [len(batch) for batch in _taken(inline.writer)] == batches


@pytest.mark.parametrize(
    "step",
    [Step(size_bytes=3 << 20), Step(touched=tuple(("projects_by_id", str(number)) for number in range(400)))],
    ids=["bytes", "keys"],
)
def test_a_batch_is_bounded_in_bytes_and_keys(step: Step) -> None:
    writer = Writer(ManualClock(), Limits())
    _put(writer, *(step for _ in range(5)))
    assert [len(batch) for batch in _taken(writer)] == [2, 2, 1]


def test_a_batch_is_bounded_in_operations_and_one_too_large_goes_alone() -> None:
    writer = Writer(ManualClock(), Limits(), max_batch=3)
    _put(writer, *(Step() for _ in range(7)))
    assert [len(batch) for batch in _taken(writer)] == [3, 3, 1]
    _put(writer, Step(size_bytes=20 << 20), Step())
    assert [len(batch) for batch in _taken(writer)] == [1, 1]


def test_a_closed_queue_takes_nothing_and_is_drained() -> None:
    writer = Writer(ManualClock(), Limits())
    _put(writer, Step())
    writer.close()
    with pytest.raises(Unavailable, match="shutting down"):
        _put(writer, Step())
    assert writer.take() is not None
    assert writer.take() is None


# ---- execution -------------------------------------------------------------------------------


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
