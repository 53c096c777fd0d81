"""What survives kill -9, and that the ledger would notice if it did not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.kill.campaign import run
from tests.kill.ledger import Ledger, violations

KILLS = 20


def test_nothing_acknowledged_is_lost_over_twenty_kills_under_load(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, KILLS, seed=1))
    assert report.violations == []
    assert report.kills == KILLS
    # A load that did nothing would prove nothing.
    assert report.counts["acknowledged"] > 10 * KILLS
    assert report.counts["resumed"] > KILLS
    assert report.counts["broken"] > KILLS


def test_the_ledger_refuses_a_store_that_breaks_a_promise() -> None:
    ledger = Ledger()
    waiting = {"id": "1", "event_key": "k", "expires_at": "2", "status": "waiting"}
    received = waiting | {"status": "received", "response_payload": 7, "settled_at": "1"}
    wait = ledger.opened(waiting)
    wait.attempted.append(7)
    wait.acknowledged.append(7)
    ledger.saw(received)
    assert violations(ledger, {"1": received}) == []
    broken: tuple[dict[str, Any], ...] = (
        {},
        {"1": waiting},
        {"1": received | {"response_payload": 8}},
        {"1": received | {"status": "timed_out"}},
        {"1": received | {"status": "canceled"}},
        {"1": received | {"settled_at": "0"}},
    )
    for stored in broken:
        assert violations(ledger, stored), stored
    ledger.prefix_resolved["7"] = 2
    assert violations(ledger, {"1": received})
