"""How the event loop's turns are shared out while an answer of the database is awaited."""

from __future__ import annotations

import asyncio

import pytest

from narrows.pace import AT_ONCE, Pace

MANY = 3 * AT_ONCE + 1


async def a_turn() -> None:
    """Until everything that was planned has had its turn."""
    await asyncio.sleep(0)


async def test_where_nothing_is_awaited_a_call_is_made_at_once() -> None:
    made: list[int] = []
    Pace().call(made.append, 1)
    assert made == [1]


async def test_while_an_answer_is_awaited_a_turn_makes_a_few_calls_and_the_loop_hears_of_others_between() -> (
    None
):
    pace, made, made_by_turn = Pace(), list[int](), []
    with pace.awaiting():
        for number in range(MANY):
            pace.call(made.append, number)
        while len(made) < MANY:
            await a_turn()
            made_by_turn.append(len(made))
    assert made == list(range(MANY))
    assert made_by_turn == [AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE, MANY]


async def test_when_nothing_is_awaited_any_more_all_that_is_due_is_called_in_its_order() -> None:
    pace, made = Pace(), list[int]()
    with pace.awaiting(), pace.awaiting():
        for number in range(MANY):
            pace.call(made.append, number)
    pace.call(made.append, MANY)
    assert made == []
    await a_turn()
    assert made == list(range(MANY + 1))
    pace.call(made.append, -1)
    assert made[-1] == -1


async def test_as_long_as_one_of_two_is_awaited_there_are_a_few_calls_a_turn() -> None:
    pace, made = Pace(), list[int]()
    with pace.awaiting():
        with pace.awaiting():
            pass
        for number in range(MANY):
            pace.call(made.append, number)
        await a_turn()
        assert len(made) == AT_ONCE


async def test_a_call_that_fails_is_told_and_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    pace, made = Pace(), list[int]()
    with pace.awaiting():
        pace.call(fail)
        for number in range(MANY):
            pace.call(made.append, number)
        while len(made) < MANY:
            await a_turn()
    assert "broken" in caplog.text


async def test_what_a_call_calls_in_turn_comes_a_turn_later_however_often() -> None:
    pace, made, made_by_turn = Pace(), list[int](), []

    def call_on() -> None:
        made.append(len(made))
        if len(made) < MANY:
            pace.call(call_on)

    with pace.awaiting():
        pace.call(call_on)
        for _ in range(MANY):
            await a_turn()
            made_by_turn.append(len(made))
    assert made_by_turn == list(range(1, MANY + 1))
