"""One trigger, four contenders, one winner; on PostgreSQL from three processes."""

from __future__ import annotations

import asyncio

import pytest

from narrows.config import Config
from tests.races.run import run

RACES = {"sqlite": 2_000, "postgres": 1_000}
LEAST_SHARE = 0.05


@pytest.mark.slow
def test_of_send_time_out_cancel_and_prefix_send_exactly_one_wins(config: Config) -> None:
    races = RACES["postgres" if config.is_shared else "sqlite"]
    report = asyncio.run(run(config, races, seed=1))
    assert report.faults == []
    assert report.wins.total() == races
    # A contender that never wins has not raced.
    shares = {name: report.wins[name] / races for name in ("send", "time-out", "cancel", "prefix")}
    assert min(shares.values()) >= LEAST_SHARE, shares
