"""The life of a delivery: each function takes a record and answers the changed record.

A delivery is tried up to eight times over a day. While it is tried its due time is a lease: should
nobody tell how the attempt ended, it is due again. Pure: who sends it, and what the trigger is told
of it, is decided elsewhere.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from narrows.core.records import Trigger
from narrows.core.run_records import Delivery
from narrows.core.states import DeliveryKind, DeliveryStatus, TriggerStatus
from narrows.core.triggers import expiry

#: The pause after each failed attempt but the last: 23 h 36 min in all.
PAUSES_SECS: Final = (5, 60, 300, 1_800, 7_200, 21_600, 54_000)
MOST_ATTEMPTS: Final = len(PAUSES_SECS) + 1
#: No `Retry-After` puts an attempt off beyond a day after the delivery was made.
SPREAD_SECS: Final = 86_400
#: Jitter takes away up to a fifth of a pause, so that what failed together does not come back together.
JITTER_DIVISOR: Final = 5
#: 410 Gone: whoever answers it wants no more of this.
GONE: Final = 410


class Outcome(NamedTuple):
    """How an attempt ended: with an HTTP `status` or without an answer; `error` is a sentence."""

    status: int | None
    error: str | None = None
    retry_after_secs: int | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def is_due(delivery: Delivery, wall: int) -> bool:
    return delivery.due_at is not None and delivery.due_at <= wall


def begin_attempt(delivery: Delivery, wall: int, lease_us: int) -> Delivery:
    """One more attempt begins; after `lease_us` without news of it another may."""
    return delivery._replace(attempts=delivery.attempts + 1, due_at=wall + lease_us)


def end_attempt(delivery: Delivery, outcome: Outcome, now: int, wall: int, entropy: int) -> Delivery:
    """The delivery after its newest attempt: delivered, to be tried again, or failed for good."""
    if outcome.is_success:
        return delivery._replace(
            status=DeliveryStatus.DELIVERED,
            last_status=outcome.status,
            error=None,
            due_at=None,
            finished_at=now,
        )
    tried = delivery._replace(last_status=outcome.status, error=_sentence(outcome))
    if outcome.status == GONE or delivery.attempts >= MOST_ATTEMPTS:
        return tried._replace(status=DeliveryStatus.FAILED, due_at=None, finished_at=now)
    return tried._replace(due_at=_next_attempt(delivery, outcome, wall, entropy))


def _next_attempt(delivery: Delivery, outcome: Outcome, wall: int, entropy: int) -> int:
    pause_us = PAUSES_SECS[max(delivery.attempts, 1) - 1] * 1_000_000
    planned = wall + pause_us - entropy % (pause_us // JITTER_DIVISOR)
    asked = wall + (outcome.retry_after_secs or 0) * 1_000_000
    return max(planned, min(asked, delivery.created_at + SPREAD_SECS * 1_000_000))


def _sentence(outcome: Outcome) -> str:
    if outcome.error is not None or outcome.status is None:
        return outcome.error or "there was no answer"
    if 300 <= outcome.status < 400:
        return f"the address answered {outcome.status}; redirects are not followed"
    return f"the address answered {outcome.status}"


def retry(delivery: Delivery, wall: int) -> Delivery:
    """Due at once, also if it had failed for good. The attempts go on counting."""
    return delivery._replace(status=DeliveryStatus.PENDING, due_at=wall, finished_at=None)


def is_newest(delivery: Delivery, trigger: Trigger) -> bool:
    """Whether no later delivery tells of the same trigger: the trigger shows how its newest stands."""
    return delivery.kind == DeliveryKind.TRIGGER_SETTLED or trigger.status == TriggerStatus.WAITING


def was_extended(trigger: Trigger) -> bool:
    """Whether it may have another time-out now than it was opened with."""
    changes = trigger.version - 1
    return changes > (0 if trigger.status == TriggerStatus.WAITING else 1)


def as_opened(trigger: Trigger, timeout_secs: int) -> Trigger:
    """The trigger as it was when it was opened: what all attempts of `trigger.opened` show."""
    return trigger._replace(
        status=TriggerStatus.WAITING,
        timeout_secs=timeout_secs,
        expires_at=expiry(trigger.requested_at, timeout_secs),
        response_payload=None,
        response_payload_id=None,
        received_at=None,
        settled_at=None,
        error=None,
        sent_by=None,
    )
