"""Which of several writers takes what waits."""

from __future__ import annotations

from narrows.storage.at_work import HANDFUL, AtWork


def test_an_idle_writer_takes_a_single_operation_where_no_other_is_at_work() -> None:
    at_work = AtWork()
    assert at_work.is_one_more_worth_it(1)
    with at_work.batch(64):
        pass
    assert at_work.is_one_more_worth_it(1)


def test_beside_a_handful_fewer_operations_wait_and_as_many_do_not() -> None:
    at_work = AtWork()
    with at_work.batch(HANDFUL):
        assert not at_work.is_one_more_worth_it(HANDFUL - 1)
        assert at_work.is_one_more_worth_it(HANDFUL)
        with at_work.batch(1):
            assert not at_work.is_one_more_worth_it(HANDFUL - 1)


def test_beside_single_operations_another_one_goes_on() -> None:
    at_work = AtWork()
    with at_work.batch(1), at_work.batch(1):
        assert at_work.is_one_more_worth_it(1)


def test_beside_a_larger_batch_all_that_comes_waits() -> None:
    at_work = AtWork()
    with at_work.batch(HANDFUL + 1):
        assert not at_work.is_one_more_worth_it(10_000)
    assert at_work.is_one_more_worth_it(1)


def test_beside_batches_that_take_long_a_single_operation_goes_on() -> None:
    at_work = AtWork()
    with at_work.batch(64) as first_is_late:
        first_is_late()
        assert at_work.is_one_more_worth_it(1)
        with at_work.batch(32) as second_is_late:
            assert not at_work.is_one_more_worth_it(32)
            second_is_late()
            assert at_work.is_one_more_worth_it(1)
        assert at_work.is_one_more_worth_it(1)


def test_a_batch_that_was_late_and_ended_does_not_stand_for_one_that_goes_on() -> None:
    at_work = AtWork()
    with at_work.batch(64):
        with at_work.batch(64) as is_late:
            is_late()
        assert not at_work.is_one_more_worth_it(64)
