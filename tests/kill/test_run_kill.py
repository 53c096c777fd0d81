"""What runs survive when server, worker and endpoint are killed, and that the ledger would notice if not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.kill.run_campaign import run
from tests.kill.run_ledger import RunLedger, Stored, violations

KILLS = 20


def test_every_run_goes_on_exactly_once_over_twenty_kills_of_server_and_of_executors(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, KILLS, seed=1))
    assert report.violations == []
    assert report.kills == 2 * KILLS
    # A load that did nothing would prove nothing.
    assert report.counts["acknowledged"] > 2 * KILLS
    assert report.counts["canceled"] > 0
    assert report.counts["broken"] > KILLS
    assert report.counts["late answers refused"] > KILLS


def test_the_run_ledger_refuses_a_store_that_breaks_a_promise() -> None:
    ledger = RunLedger()
    ledger.triggered("1", "k").sent = 7
    facts = ["run.created", "run.dispatched", "run.waiting", "run.resumed", "run.dispatched", "run.completed"]
    completed = {"id": "1", "status": "completed", "result": 7}
    good = Stored(completed, facts)
    assert violations(ledger, {"1": good}) == []
    broken: tuple[dict[str, Stored], ...] = (
        {},
        {"1": good, "2": good},
        {"1": good._replace(run=completed | {"result": 8})},
        {"1": good._replace(run=completed | {"status": "waiting"})},
        {"1": good._replace(run=completed | {"status": "dead_lettered"})},
        {"1": good._replace(run=completed | {"status": "canceled"})},
        {"1": good._replace(kinds=[*facts, "run.resumed"])},
        {"1": good._replace(kinds=[*facts, "run.completed"])},
        {"1": good._replace(kinds=[kind for kind in facts if kind != "run.resumed"])},
        {"1": good._replace(kinds=["run.dispatched", "run.resumed", "run.completed"])},
    )
    for stored in broken:
        assert violations(ledger, stored), stored
    ledger.runs["1"].canceled = True
    assert violations(ledger, {"1": good})
    ledger.runs["1"].canceled = False
    ledger.faults.append("a late answer got 200")
    assert violations(ledger, {"1": good})
