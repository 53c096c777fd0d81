"""Every measurement by its name, in the order in which they run; `--only` takes these names."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.crowds import prefix, streams
from benchmarks.latency import cold_start, idle, resumed
from benchmarks.runs import claims, one_run, through_worker, waiting_runs
from benchmarks.sends import lonely, sends, sizes, sustained
from benchmarks.setting import Setting
from benchmarks.throughput import batches, disk, opens, profile
from benchmarks.time_outs import at_one_instant, lateness
from benchmarks.workflows import fans, many_waits, next_step, workflow_sends

MEASUREMENTS: dict[str, Callable[[Setting], None]] = {
    each.__name__: each
    for each in (
        sends, sustained, lonely, opens, batches, sizes, idle, resumed, cold_start, lateness, at_one_instant, prefix, streams,
        disk, one_run, through_worker, waiting_runs, claims, workflow_sends, next_step, fans, many_waits, profile,
    )
}  # fmt: skip
#: Of these it says something to spread the load over two nodes.
ON_TWO_NODES = {"sends", "opens", "batches", "resumed", "at_one_instant", "workflow_sends"}
