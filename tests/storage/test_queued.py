"""What waits to be written: bounds, order, and what of it goes together."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.errors import Unavailable
from narrows.storage.queued import Ticket
from narrows.storage.transaction import Limits
from narrows.storage.writer import Writer
from narrows.testing import ManualClock
from tests.storage.steps import Step


@pytest.fixture
def queue() -> Writer:
    return Writer(ManualClock(), Limits(), max_queue=10, max_queue_bytes=1_000)


def _put(writer: Writer, *operations: Step) -> None:
    for _, refusal in writer.put([Ticket(operation, operation.touches(), None) for operation in operations]):
        raise refusal


def _taken(writer: Writer) -> list[list[Any]]:
    batches = []
    while batch := writer.take_now():
        batches.append([ticket.operation for ticket in batch])
    return batches


def test_the_queue_is_bounded_in_number(queue: Writer) -> None:
    _put(queue, *(Step() for _ in range(10)))
    with pytest.raises(Unavailable, match="full"):
        _put(queue, Step())
    queue.take_now()
    _put(queue, Step())


def test_the_queue_is_bounded_in_bytes_but_takes_one_larger_alone(queue: Writer) -> None:
    _put(queue, Step(size_bytes=5_000))
    with pytest.raises(Unavailable, match="full"):
        _put(queue, Step(size_bytes=1))
    queue.take_now()
    _put(queue, Step(size_bytes=600), Step(size_bytes=400))
    with pytest.raises(Unavailable):
        _put(queue, Step(size_bytes=1))


def test_those_that_fit_are_queued_although_others_of_the_same_turn_are_refused(queue: Writer) -> None:
    steps = [Step(), Step(size_bytes=900), Step(size_bytes=200), Step(size_bytes=100)]
    refused = queue.put([Ticket(step, step.touches(), None) for step in steps])
    assert [(ticket.operation, type(why)) for ticket, why in refused] == [(steps[2], Unavailable)]
    assert _taken(queue) == [[steps[0], steps[1], steps[3]]]


def test_background_work_is_taken_although_the_queue_is_full(queue: Writer) -> None:
    _put(queue, *(Step() for _ in range(10)))
    expiry = Step(background=True, size_bytes=5_000)
    _put(queue, expiry)
    assert _taken(queue)[0][-1] is expiry


def test_background_work_is_not_starved_by_batches_that_are_always_full() -> None:
    writer = Writer(ManualClock(), Limits(), max_batch=2)
    expiry = Step(background=True)
    _put(writer, *(Step() for _ in range(4)), expiry)
    first = _taken(writer)[0]
    assert len(first) == 3
    assert first[-1] is expiry


def test_background_work_comes_behind_and_one_at_a_time(queue: Writer) -> None:
    slow = [Step(background=True) for _ in range(2)]
    quick = [Step() for _ in range(3)]
    _put(queue, slow[0], quick[0], slow[1], *quick[1:])
    first, second = _taken(queue)
    assert first == [*quick, slow[0]]
    assert second == [slow[1]]
    assert first[-1] is slow[0]
    assert second[0] is slow[1]


def _background(touches: int, size_bytes: int = 0) -> Step:
    touched = tuple(("triggers_by_id", str(number)) for number in range(touches))
    return Step(background=True, touched=touched, size_bytes=size_bytes)


@pytest.mark.parametrize(
    ("queued", "batches"),
    [
        ([(1,), (20,), (107,), (1,)], [3, 1]),
        ([(129,), (1,)], [1, 1]),
        ([(1,), (0,), (1,)], [1, 1, 1]),
        ([(1, 400_000)] * 3, [2, 1]),
    ],
)
def test_small_background_operations_go_together_and_a_large_or_unbounded_one_alone(
    queue: Writer, queued: list[tuple[int, ...]], batches: list[int]
) -> None:
    _put(queue, *(_background(*each) for each in queued))
    assert [len(batch) for batch in _taken(queue)] == batches


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
