"""What workflows survive when servers and workers are killed, and that the ledger would notice if not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.kill import workflow_campaign
from tests.kill.campaign import Report
from tests.kill.workflow_ledger import Effect, Stored, WorkflowLedger, violations

KILLS = 5
KILLS_OF_NODES = 2


def _proves_something(report: Report) -> None:
    assert report.violations == []
    # A load that did nothing would prove nothing.
    assert report.counts["acknowledged"] > report.kills
    assert report.counts["effects"] > 2 * report.kills


def test_every_workflow_ends_once_over_kills_of_server_and_workers(tmp_path: Path) -> None:
    report = asyncio.run(workflow_campaign.run(tmp_path, KILLS, seed=1))
    _proves_something(report)
    assert report.counts["broken"] > report.kills
    assert report.counts["canceled"] > 0


def test_every_workflow_ends_once_when_nodes_are_killed(tmp_path: Path) -> None:
    report = asyncio.run(workflow_campaign.run_nodes(tmp_path, KILLS_OF_NODES, seed=1))
    _proves_something(report)
    # Of the senders a part is at each node; how many of them just then is chance.
    assert report.counts["broken"] > 0


FACTS: list[tuple[str, str | None]] = [
    ("workflow_run.completed", None),
    ("step.completed", "finish"),
    ("step.started", "finish"),
    ("step.completed", "answer"),
    ("step.waiting", "answer"),
    ("step.completed", "prepare"),
    ("step.started", "prepare"),
    ("workflow_run.created", None),
]
STEPS: dict[str, dict[str, Any]] = {
    "prepare": {"status": "completed"},
    "answer": {"status": "completed", "output": 7},
    "finish": {"status": "completed"},
}
EFFECTS = [Effect("1", "prepare", 4, None), Effect("1", "finish", 4, 7)]


def test_the_workflow_ledger_refuses_a_store_that_breaks_a_promise() -> None:
    ledger = WorkflowLedger()
    flow = ledger.started("1", 4)
    flow.attempted, flow.acknowledged = [7], 7
    completed = {"id": "1", "status": "completed"}
    good = Stored(completed, STEPS, FACTS)
    assert violations(ledger, {"1": good}, EFFECTS) == []
    broken: tuple[dict[str, Stored], ...] = (
        {},
        {"1": good, "2": good},
        {"1": good._replace(run=completed | {"status": "running"})},
        {"1": good._replace(run=completed | {"status": "failed"})},
        {"1": good._replace(run=completed | {"status": "canceled"})},
        {"1": good._replace(steps=STEPS | {"answer": {"status": "completed", "output": 8}})},
        {"1": good._replace(steps=STEPS | {"finish": {"status": "canceled"}})},
        {"1": good._replace(facts=[("step.completed", "finish"), *FACTS])},
        {"1": good._replace(facts=[FACTS[0], *FACTS])},
        {"1": good._replace(facts=FACTS[1:])},
        {"1": good._replace(facts=[*FACTS, ("step.waiting", "answer")])},
    )
    for stored in broken:
        assert violations(ledger, stored, EFFECTS), stored
    assert violations(ledger, {"1": good}, EFFECTS[:1])
    assert violations(ledger, {"1": good}, [EFFECTS[0], Effect("1", "finish", 4, 8)])
    flow.canceled = True
    assert violations(ledger, {"1": good}, EFFECTS)
