"""The life of a trigger, function by function: what changes, what stays, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from narrows.core import triggers as rules
from narrows.core.records import NEVER, Trigger
from narrows.core.states import SETTLED, TriggerStatus, TriggerType
from narrows.errors import Conflict, InvariantViolated

NOW = 1_767_225_600_000_000
SECOND = 1_000_000


def _wait(timeout_secs: int = 60) -> Trigger:
    return rules.new_wait(
        project_id="p",
        trigger_id="t",
        event_key="k",
        ordinal=1,
        timeout_secs=timeout_secs,
        now=NOW,
        opened_by="dev",
    )


CHANGES: dict[TriggerStatus, Callable[[Trigger], Trigger]] = {
    TriggerStatus.RECEIVED: lambda trigger: rules.receive(trigger, "1", None, "dev", NOW + 5),
    TriggerStatus.TIMED_OUT: lambda trigger: rules.time_out(trigger, NOW + 60 * SECOND + 5),
    TriggerStatus.CANCELED: lambda trigger: rules.cancel(trigger, "canceled by user", NOW + 5),
    TriggerStatus.WAITING: lambda trigger: rules.extend(trigger, 100, NOW + 5),
}
FIXED = ("project_id", "id", "event_key", "ordinal", "requested_at", "opened_by", "trigger_type", "waiter")


@pytest.mark.parametrize("status", TriggerStatus)
def test_a_change_keeps_what_a_trigger_is_and_counts_itself(status: TriggerStatus) -> None:
    before = _wait()
    after = CHANGES[status](before)
    assert after.status == status
    assert after.version == before.version + 1
    for field in FIXED:
        assert getattr(after, field) == getattr(before, field)
    assert (after.settled_at is not None) == (status in SETTLED)
    assert (after.received_at is not None) == (status == TriggerStatus.RECEIVED)
    assert (after.error is not None) == (status in (TriggerStatus.TIMED_OUT, TriggerStatus.CANCELED))


@pytest.mark.parametrize("status", sorted(SETTLED))
@pytest.mark.parametrize("change", TriggerStatus)
def test_a_settled_trigger_never_changes_again(status: TriggerStatus, change: TriggerStatus) -> None:
    settled = CHANGES[status](_wait())
    with pytest.raises(InvariantViolated):
        CHANGES[change](settled)


def test_a_time_out_is_never_dated_before_its_time() -> None:
    trigger = _wait()
    assert rules.time_out(trigger, trigger.expires_at - 9).settled_at == trigger.expires_at
    assert rules.time_out(trigger, trigger.expires_at + 9).settled_at == trigger.expires_at + 9


@pytest.mark.parametrize(("wall", "overdue"), [(-1, False), (0, True), (1, True)])
def test_overdue_is_from_the_very_time_on(wall: int, overdue: bool) -> None:
    trigger = _wait()
    assert rules.is_overdue(trigger, trigger.expires_at + wall) is overdue
    assert not rules.is_overdue(CHANGES[TriggerStatus.RECEIVED](trigger), trigger.expires_at + wall)


def test_a_time_out_of_zero_is_never() -> None:
    assert rules.expiry(NOW, 0) == NEVER == _wait(0).expires_at
    assert rules.expiry(NOW, 1) == NOW + SECOND
    assert not rules.is_overdue(_wait(0), NEVER - 1)


def test_an_extension_counts_from_now_and_its_span_from_the_request() -> None:
    extended = rules.extend(_wait(60), 60, NOW + 30 * SECOND + 1)
    assert extended.expires_at == NOW + 90 * SECOND + 1
    assert extended.timeout_secs == 91
    endless = rules.extend(extended, 0, NOW + 40 * SECOND)
    assert (endless.expires_at, endless.timeout_secs) == (NEVER, 0)


@pytest.mark.parametrize("trigger_type", TriggerType)
def test_who_takes_an_event(trigger_type: TriggerType) -> None:
    trigger = _wait()._replace(trigger_type=trigger_type)
    if trigger_type == TriggerType.EVENT:
        rules.refuse_event(trigger)
    else:
        with pytest.raises(Conflict, match="takes no event"):
            rules.refuse_event(trigger)


@pytest.mark.parametrize("status", sorted(SETTLED))
def test_a_settled_trigger_takes_no_event(status: TriggerStatus) -> None:
    with pytest.raises(Conflict, match=f"already {status}"):
        rules.refuse_event(CHANGES[status](_wait()))
