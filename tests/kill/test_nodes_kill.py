"""What survives when a node dies, or the PostgreSQL of several nodes, or its primary for good."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.kill import nodes_campaign
from tests.kill.campaign import Report

FAULTS = 5


def _proves_something(report: Report) -> None:
    assert report.violations == []
    assert report.counts["acknowledged"] > 10 * report.kills
    assert report.counts["resumed"] > report.kills


def test_nothing_acknowledged_is_lost_when_nodes_are_killed(tmp_path: Path) -> None:
    report = asyncio.run(nodes_campaign.kill_nodes(tmp_path, FAULTS, seed=1))
    _proves_something(report)
    assert report.counts["broken"] > FAULTS


def test_nothing_acknowledged_is_lost_when_the_database_crashes(tmp_path: Path) -> None:
    report = asyncio.run(nodes_campaign.crash_database(tmp_path, FAULTS, seed=1))
    _proves_something(report)
    assert report.counts["answered 503"] > FAULTS


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_a_standby_takes_over(tmp_path: Path) -> None:
    _proves_something(asyncio.run(nodes_campaign.promote_standby(tmp_path, 1, seed=1)))
