"""One trigger, four contenders, one winner."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.races.race import run

RACES = 2_000
LEAST_SHARE = 0.05


def test_of_send_time_out_cancel_and_prefix_send_exactly_one_wins(tmp_path: Path) -> None:
    report = asyncio.run(run(tmp_path, RACES, seed=1))
    assert report.faults == []
    assert report.wins.total() == RACES
    # A contender that never wins has not raced.
    shares = {name: report.wins[name] / RACES for name in ("send", "time-out", "cancel", "prefix")}
    assert min(shares.values()) >= LEAST_SHARE, shares
