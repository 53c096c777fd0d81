"""What an event may not do to a trigger, whatever else would allow it."""

from __future__ import annotations

import pytest

from narrows.core import triggers as rules
from narrows.core.states import TriggerStatus, TriggerType
from narrows.errors import Conflict
from narrows.operations.delivery import deliver
from narrows.storage.transaction import Limits, Transaction


@pytest.mark.parametrize("kind", [TriggerType.SLEEP, TriggerType.APPROVAL])
@pytest.mark.parametrize("status", [TriggerStatus.WAITING, TriggerStatus.RECEIVED])
def test_a_sleep_or_an_approval_takes_no_event_not_even_an_equal_one(
    kind: TriggerType, status: TriggerStatus
) -> None:
    wait = rules.new_wait(
        project_id="p", trigger_id="t", event_key="k", ordinal=1, timeout_secs=0, now=1, opened_by="dev"
    )
    wait = wait._replace(trigger_type=kind)
    if status == TriggerStatus.RECEIVED:
        wait = rules.receive(wait, None, None, "engine", 2)
    tx = Transaction(3, 3, Limits())
    with pytest.raises(Conflict, match="takes no event"):
        deliver(tx, wait, None, sent_by="dev", entropy=1, answers={})
    assert tx.changes == 0
