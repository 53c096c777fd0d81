"""The schedule of deliveries and what a retry, a 410 and a `Retry-After` do to it."""

from __future__ import annotations

from narrows.core import deliveries as rules
from narrows.core import signing_secrets
from narrows.core.deliveries import Outcome
from narrows.core.run_records import Delivery
from narrows.core.states import DeliveryKind, DeliveryStatus
from narrows.core.triggers import cancel, extend, new_wait

MADE = 1_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
BUSY = Outcome(503)


def delivery(attempts: int = 0, **changes: object) -> Delivery:
    made = Delivery(
        "p", "d", "t", DeliveryKind.TRIGGER_SETTLED, "https://example.com", DeliveryStatus.PENDING, attempts,
        None, None, MADE, MADE, None,
    )  # fmt: skip
    return made._replace(**changes)  # type: ignore[arg-type]


def test_eight_attempts_are_spread_over_a_day() -> None:
    for entropy in (0, 7, (1 << 64) - 1, 0x9E3779B97F4A7C15):
        now, tried, times = MADE, delivery(), []
        while tried.status == DeliveryStatus.PENDING:
            assert tried.due_at is not None
            now = tried.due_at
            times.append(now)
            tried = rules.begin_attempt(tried, now, 60 * SECOND)
            assert tried.due_at == now + 60 * SECOND
            tried = rules.end_attempt(tried, BUSY, now, now, entropy)
        assert len(times) == 8
        assert 0.79 * DAY * 0.98 < times[-1] - times[0] <= DAY
        assert (tried.status, tried.due_at, tried.finished_at) == (DeliveryStatus.FAILED, None, now)
        assert tried.error == "the address answered 503"


def test_jitter_takes_away_a_fifth_of_a_pause_at_most() -> None:
    pauses = {
        (rules.end_attempt(delivery(3), BUSY, 0, 0, entropy).due_at or 0) // SECOND
        for entropy in range(0, 10**9, 7_654_321)
    }
    assert min(pauses) >= 240
    assert max(pauses) <= 300
    assert len(pauses) > 30


def test_any_2xx_delivers_it() -> None:
    for status in (200, 201, 204, 299):
        ended = rules.end_attempt(delivery(2, error="before"), Outcome(status), 5, 6, 0)
        assert ended[5:] == (DeliveryStatus.DELIVERED, 2, status, None, MADE, None, 5)


def test_410_ends_it_at_once() -> None:
    ended = rules.end_attempt(delivery(1), Outcome(410), 5, 6, 0)
    assert (ended.status, ended.last_status, ended.finished_at) == (DeliveryStatus.FAILED, 410, 5)


def test_redirects_and_other_statuses_and_no_answer_are_tried_again() -> None:
    for outcome, sentence in (
        (Outcome(302), "the address answered 302; redirects are not followed"),
        (Outcome(404), "the address answered 404"),
        (Outcome(None, "the connection was refused"), "the connection was refused"),
        (Outcome(None), "there was no answer"),
    ):
        ended = rules.end_attempt(delivery(1), outcome, MADE, MADE, 0)
        assert (ended.status, ended.error) == (DeliveryStatus.PENDING, sentence)
        assert ended.due_at == MADE + 5 * SECOND


def test_a_longer_retry_after_counts_within_the_day() -> None:
    def due_after(retry_after_secs: int, attempts: int = 1, now: int = MADE) -> int:
        outcome = Outcome(429, None, retry_after_secs)
        return (rules.end_attempt(delivery(attempts), outcome, now, now, 0).due_at or 0) - now

    assert due_after(1) == 5 * SECOND
    assert due_after(90) == 90 * SECOND
    assert due_after(10**9) == DAY
    late = MADE + DAY + SECOND
    assert due_after(10**9, 7, late) == 54_000 * SECOND, "what is planned stands"


def test_a_retry_makes_it_due_and_goes_on_counting() -> None:
    failed = delivery(8, status=DeliveryStatus.FAILED, due_at=None, finished_at=9)
    due = rules.retry(failed, 77)
    assert (due.id, due.status, due.attempts, due.due_at, due.finished_at) == ("d", "pending", 8, 77, None)
    again = rules.end_attempt(rules.begin_attempt(due, 80, SECOND), BUSY, 81, 81, 0)
    assert (again.status, again.attempts) == (DeliveryStatus.FAILED, 9)


def test_an_opened_trigger_is_shown_as_it_was() -> None:
    opened = new_wait(
        project_id="p", trigger_id="t", event_key="k", ordinal=1, timeout_secs=60, now=MADE, opened_by="dev"
    )
    extended = extend(opened, 600, MADE + SECOND)
    settled = cancel(extended, "no more", MADE + 2 * SECOND)
    assert not rules.was_extended(opened)
    assert not rules.was_extended(cancel(opened, "no more", MADE))
    assert rules.was_extended(extended)
    assert rules.was_extended(settled)
    assert rules.as_opened(settled, 60)._replace(version=1) == opened


def test_secrets_rotate_with_an_overlap() -> None:
    kept = signing_secrets.first_secret("one")
    assert signing_secrets.old_until(kept) is None
    kept = signing_secrets.rotate(kept, "two", 0, 60)
    assert kept == '[["two",null],["one",60000000]]'
    assert signing_secrets.old_until(kept) == 60_000_000
    kept = signing_secrets.rotate(kept, "three", 59_000_000, 600)
    assert kept == '[["three",null],["two",659000000],["one",60000000]]'
    assert (
        signing_secrets.rotate(kept, "four", 61_000_000, 600)
        == '[["four",null],["three",661000000],["two",659000000]]'
    )
    assert signing_secrets.rotate(kept, "five", 59_500_000, 0) == '[["five",null]]', "one leaked: all are out"
    assert signing_secrets.rotate(None, "first", 5, 60) == '[["first",null]]'


def test_rotating_without_end_keeps_a_few() -> None:
    kept = None
    for number in range(50):
        kept = signing_secrets.rotate(kept, str(number), number, 1_000)
    assert kept is not None
    assert kept.count("[") == 1 + signing_secrets.MOST_KEPT
