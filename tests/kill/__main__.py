"""`python -m tests.kill [--runs | --nodes | --pauses | --crashes | --promotions] [--workflows] [--kills N] [--seed N]
[--campaign]`: kills under load, for as long as wanted; with `--runs` of workers and endpoints too, the others on PostgreSQL;
with `--workflows` of servers and workers, alone or with `--nodes`."""

from __future__ import annotations

import argparse
import asyncio
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.kill import campaign, nodes_campaign, run_campaign, workflow_campaign

CAMPAIGN_KILLS = 300
CAMPAIGN_PROMOTIONS = 20


def _campaign(asked: argparse.Namespace) -> Callable[[Path, int, int], Coroutine[Any, Any, Any]]:
    if asked.workflows:
        return workflow_campaign.run_nodes if asked.nodes else workflow_campaign.run
    if asked.nodes:
        return functools.partial(nodes_campaign.kill_nodes, nodes=3)
    if asked.pauses:
        return nodes_campaign.pause_nodes
    if asked.crashes:
        return nodes_campaign.crash_database
    if asked.promotions:
        return nodes_campaign.promote_standby
    return run_campaign.run if asked.runs else campaign.run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--runs", action="store_true", help="runs, with as many kills of their executors")
    kinds.add_argument("--nodes", action="store_true", help="of one of three nodes over one PostgreSQL")
    kinds.add_argument("--pauses", action="store_true", help="of one of two nodes, by SIGSTOP")
    kinds.add_argument("--crashes", action="store_true", help="of the PostgreSQL of two nodes")
    kinds.add_argument("--promotions", action="store_true", help="the PostgreSQL's standby takes over")
    parser.add_argument("--workflows", action="store_true", help="workflows are what goes on meanwhile")
    parser.add_argument(
        "--campaign",
        action="store_true",
        help=f"{CAMPAIGN_KILLS} kills, {CAMPAIGN_PROMOTIONS} promotions or pauses",
    )
    asked = parser.parse_args()
    most = CAMPAIGN_PROMOTIONS if asked.promotions or asked.pauses else CAMPAIGN_KILLS
    kills = most if asked.campaign else asked.kills
    run = _campaign(asked)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run(Path(folder), kills, asked.seed))
    print(f"{report.kills} kills in {time.monotonic() - began:.0f} s, seed {asked.seed}: {report.counts}")
    print(
        f"first answer after a kill: median {statistics.median(report.restart_secs):.2f} s, most {max(report.restart_secs):.2f} s"
    )
    for line in report.violations:
        print(line)
    print(f"{len(report.violations)} violations")
    return 1 if report.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
