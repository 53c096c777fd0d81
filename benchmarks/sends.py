"""Sends a second under `wrk`: random and in order, in batches and one per commit, alone, among many and few; and
what a send costs in round trips."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks import costs, load
from benchmarks.costs import Counts
from benchmarks.load import Load, Part
from benchmarks.prepare import API_KEY
from benchmarks.report import figure
from benchmarks.setting import WARM_KEYS, Setting, spread

NOOP, RANDOM, ORDER = "no-op", "random", "order"
#: One after the other on one server: what only shows when much has been written.
PARTS, PART_SECS, MOST_PER_SEC = 8, 5, 12_000
RANDOM_ONE, ORDER_ONE = "random, one per commit", "order, one per commit"


class Sent(NamedTuple):
    """One run: the sends, the no-op on the same server where it was asked for, and the cost of the sends."""

    load: Load
    noop: Load | None
    cost: Counts


def _send(setting: Setting, keys: Path, *, one_per_commit: bool = False, noop: bool = False) -> Sent:
    """Warm, the no-op where asked for, then the sends."""
    with setting.server(setting.big, one_per_commit=one_per_commit) as server:
        load.run(server, API_KEY, "send", secs=1, keys=Part(keys, 0, WARM_KEYS))
        idle = load.run(server, API_KEY, "noop", secs=setting.secs) if noop else None
        before = costs.counted(server)
        sent = load.run(server, API_KEY, "send", secs=setting.secs, keys=Part(keys, WARM_KEYS, 10**9))
        return Sent(sent, idle, costs.counted(server) - before)


def sends(setting: Setting) -> None:
    """Random and in order, in turn; on one node also one per commit, in turn with them."""
    found: dict[str, list[Load]] = {name: [] for name in (RANDOM, NOOP, ORDER, RANDOM_ONE, ORDER_ONE)}
    cost = Counts()
    for _ in range(setting.runs):
        random = _send(setting, setting.keys.shuffled, noop=True)
        assert random.noop is not None
        found[RANDOM].append(random.load)
        found[NOOP].append(random.noop)
        found[ORDER].append(_send(setting, setting.keys.ordered).load)
        cost += random.cost
        if setting.nodes == 1:
            one = _send(setting, setting.keys.shuffled, one_per_commit=True)
            found[RANDOM_ONE].append(one.load)
            found[ORDER_ONE].append(_send(setting, setting.keys.ordered, one_per_commit=True).load)
    _add_rates(setting, found)
    if setting.nodes == 1:
        _add_gains(setting, found)
    _add_latency(setting, found[RANDOM])
    add_cost(setting, cost, "64 connections")


def _add_rates(setting: Setting, found: dict[str, list[Load]]) -> None:
    noop, random, order = (spread([one.per_sec for one in found[name]]) for name in (NOOP, RANDOM, ORDER))
    ratio = spread([one.per_sec / two.per_sec for one, two in zip(found[RANDOM], found[NOOP], strict=True)])
    setting.add("no-op, 64 connections", "", f"{noop}/s", note=cpu(setting, found[NOOP]))
    what, least = "durable sends, random keys, 64 connections", setting.of(6_000, 7_000)
    setting.add(
        what,
        f">= {least:,}/s; aim {setting.of(10_000, 12_000):,}",
        f"{random}/s",
        random.median >= least,
        setting.against_one_node(what, random.median) + cpu(setting, found[RANDOM]),
    )
    share = setting.of(0.45, 0.4)
    setting.add("their ratio to the no-op", f">= {share}", f"{ratio}", ratio.median >= share)
    what, least = "durable sends, keys in insert order", setting.of(12_000, 9_000)
    setting.add(
        what,
        f">= {least:,}/s; aim {setting.of(20_000, 14_000):,}",
        f"{order}/s",
        order.median >= least,
        setting.against_one_node(what, order.median) + cpu(setting, found[ORDER]),
    )


def _add_gains(setting: Setting, found: dict[str, list[Load]]) -> None:
    for name, of_one, least, words in (
        (RANDOM, RANDOM_ONE, setting.of(3.0, 1.5), "random"),
        (ORDER, ORDER_ONE, setting.of(4.0, 1.5), "in order"),
    ):
        many, one = (spread([run.per_sec for run in found[key]]) for key in (name, of_one))
        times = many.median / one.median
        setting.add(
            f"group commit against one commit per request, {words}",
            f">= {least:g} times",
            f"{figure(times)} times",
            times >= least,
            f"one per commit: {one}/s",
        )


def _add_latency(setting: Setting, runs: list[Load]) -> None:
    p50, p99, largest = (
        spread([getattr(one, name) for one in runs]) for name in ("p50_ms", "p99_ms", "max_ms")
    )
    p50_most, p99_most = setting.of((8, 25), (12, 40))
    setting.add(
        "p50 / p99 of a send, random keys, 64 connections",
        f"<= {p50_most} / {p99_most} ms",
        f"{p50} / {p99} ms",
        p50.median <= p50_most and p99.median <= p99_most,
        f"largest {largest} ms",
    )


def add_cost(setting: Setting, cost: Counts, words: str) -> None:
    if not cost.round_trips:
        return
    setting.add(
        f"round trips / statements of a batch, {words}",
        "",
        cost.per_batch,
        note=f"of a send {cost.per_operation}, and {figure(cost.log_bytes / cost.operations / 1000)} kB of WAL;"
        f" a batch has {figure(cost.operations / cost.batches)} sends",
    )


def cpu(setting: Setting, runs: list[Load]) -> str:
    """Who used how much of a core."""
    wrk, server, database = (
        spread([getattr(one, name) for one in runs]).median
        for name in ("load_cpu", "server_cpu", "database_cpu")
    )
    used = f"wrk used {wrk:.0%} of a core, the server {server:.0%}"
    return f"{used}, PostgreSQL {database:.0%}" if setting.database.is_shared else used


def lonely(setting: Setting) -> None:
    """One connection: nothing to share a commit with."""
    runs, cost = [], Counts()
    for _ in range(setting.runs):
        with setting.server(setting.big) as server:
            load.run(
                server, API_KEY, "send", secs=1, connections=1, keys=Part(setting.keys.shuffled, 0, WARM_KEYS)
            )
            before, rest = costs.counted(server), Part(setting.keys.shuffled, WARM_KEYS, 10**9)
            runs.append(load.run(server, API_KEY, "send", secs=3, connections=1, keys=rest))
            cost += costs.counted(server) - before
    p50, p99 = spread([one.p50_ms for one in runs]), spread([one.p99_ms for one in runs])
    most = setting.of(1, 2)
    setting.add(
        "one lonely send, p50",
        f"<= {most} ms",
        f"{p50} ms",
        p50.median <= most,
        f"p99 {p99} ms, {spread([one.per_sec for one in runs])}/s",
    )
    add_cost(setting, cost, "1 connection")


def sustained(setting: Setting) -> None:
    """Sends without a pause, as long as there are waits: the log of writes grows, checkpoints come, tables age."""
    found: list[Load] = []
    with setting.server(setting.big) as server:
        first = WARM_KEYS
        load.run(server, API_KEY, "send", secs=1, keys=Part(setting.keys.shuffled, 0, first))
        memory = [server.memory_bytes()]
        while len(found) < PARTS and first + PART_SECS * MOST_PER_SEC < setting.rows:
            part = Part(setting.keys.shuffled, first, 10**9)
            found.append(load.run(server, API_KEY, "send", secs=PART_SECS, keys=part))
            first += found[-1].requests + 1_000  # some were under way when it ended
            memory.append(server.memory_bytes())
    rates = [one.per_sec for one in found]
    times = min(rates[1:]) / rates[0]
    setting.add(
        f"sends for {PART_SECS * len(found)} s: the slowest {PART_SECS} s against the first",
        ">= 0.7 times",
        f"{figure(times)} times",
        times >= 0.7,
        f"{', '.join(f'{rate:,.0f}' for rate in rates)}/s; p99 {', '.join(figure(one.p99_ms) for one in found)} ms;"
        f" memory {memory[0] / 1e6:.0f}, then {memory[-1] / 1e6:.0f} MB",
    )


def sizes(setting: Setting) -> None:
    """The cost of a send with many waits against few. Few are 50,000: with 10,000 a run would end
    within a second for want of waits, and both fit into the cache whole."""
    rate: dict[tuple[str, str], list[float]] = {}
    pairs = (
        ("random", setting.keys.shuffled, setting.few_keys.shuffled),
        ("in order", setting.keys.ordered, setting.few_keys.ordered),
    )
    for _ in range(setting.runs):
        for words, many, few in pairs:
            for size, prepared, keys in (("many", setting.big, many), ("few", setting.small, few)):
                with setting.server(prepared) as server:
                    load.run(server, API_KEY, "send", secs=1, connections=8, keys=Part(keys, 0, 15_000))
                    found = load.run(server, API_KEY, "send", secs=1, keys=Part(keys, 15_000, 10**9))
                rate.setdefault((words, size), []).append(found.per_sec)
    for words, most in (("random", setting.of(2.3, 2.5)), ("in order", setting.of(1.25, 1.5))):
        of_many, of_few = spread(rate[words, "many"]), spread(rate[words, "few"])
        times = of_few.median / of_many.median
        setting.add(
            f"cost of a send with {setting.rows:,} waits against 50,000, {words}",
            f"<= {most} times (10 M against 10 k)",
            f"{figure(times)} times",
            times <= most,
            f"{of_many}/s against {of_few}/s",
        )
