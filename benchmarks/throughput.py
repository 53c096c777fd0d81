"""Sends, opens and batches a second under `wrk`, what they cost on disk, and where the time goes."""

from __future__ import annotations

from pathlib import Path

import apsw

from benchmarks import load, profiling
from benchmarks.load import Keys, Load
from benchmarks.prepare import API_KEY
from benchmarks.report import Row, figure
from benchmarks.server import WORK, Server
from benchmarks.setting import WARM_KEYS, Setting, spread
from narrows.storage import sqlite


def _sends(
    setting: Setting, keys: Path, *, one_per_commit: bool = False, noop: bool = False
) -> tuple[Load, Load | None]:
    """One run: warm, the no-op where asked for, then the sends."""
    with Server(setting.big, one_per_commit=one_per_commit) as server:
        load.run(server, API_KEY, "send", secs=1, keys=Keys(keys, 0, WARM_KEYS))
        idle = load.run(server, API_KEY, "noop", secs=setting.secs) if noop else None
        return load.run(server, API_KEY, "send", secs=setting.secs, keys=Keys(keys, WARM_KEYS, 10**9)), idle


def sends(setting: Setting) -> None:
    """Random and in order, in batches and one per commit, in turn; the ratio to the no-op."""
    found: dict[str, list[Load]] = {
        name: [] for name in ("random", "noop", "order", "random-one", "order-one")
    }
    for _ in range(setting.runs):
        random, noop = _sends(setting, setting.shuffled, noop=True)
        assert noop is not None
        found["random"].append(random)
        found["noop"].append(noop)
        found["random-one"].append(_sends(setting, setting.shuffled, one_per_commit=True)[0])
        found["order"].append(_sends(setting, setting.ordered)[0])
        found["order-one"].append(_sends(setting, setting.ordered, one_per_commit=True)[0])
    for row in (*_rates(found), *_gains(found), _latency(found["random"])):
        setting.table.add(row)


def _rates(found: dict[str, list[Load]]) -> list[Row]:
    noop, random, order = (
        spread([one.per_sec for one in found[name]]) for name in ("noop", "random", "order")
    )
    ratio = spread(
        [one.per_sec / two.per_sec for one, two in zip(found["random"], found["noop"], strict=True)]
    )
    cpu = {
        name: "wrk used {:.0%} of a core, the server {:.0%}".format(*_cpu(runs))
        for name, runs in found.items()
    }
    return [
        Row("no-op, 64 connections", "", f"{noop}/s", None, cpu["noop"]),
        Row(
            "durable sends, random keys, 64 connections",
            ">= 6,000/s; aim 10,000",
            f"{random}/s",
            random.median >= 6000,
            cpu["random"],
        ),
        Row("their ratio to the no-op", ">= 0.45", f"{ratio}", ratio.median >= 0.45),
        Row(
            "durable sends, keys in insert order",
            ">= 12,000/s; aim 20,000",
            f"{order}/s",
            order.median >= 12_000,
            cpu["order"],
        ),
    ]


def _gains(found: dict[str, list[Load]]) -> list[Row]:
    rows = []
    for name, least, words in (("random", 3, "random"), ("order", 4, "in order")):
        many, one = (spread([run.per_sec for run in found[key]]) for key in (name, f"{name}-one"))
        times = many.median / one.median
        rows.append(
            Row(
                f"group commit against one commit per request, {words}",
                f">= {least} times",
                f"{figure(times)} times",
                times >= least,
                f"one per commit: {one}/s",
            )
        )
    return rows


def _latency(runs: list[Load]) -> Row:
    p50, p99, largest = (
        spread([getattr(one, name) for one in runs]) for name in ("p50_ms", "p99_ms", "max_ms")
    )
    return Row(
        "p50 / p99 of a send, random keys, 64 connections",
        "<= 8 / 25 ms",
        f"{p50} / {p99} ms",
        p50.median <= 8 and p99.median <= 25,
        f"largest {largest} ms",
    )


def _cpu(runs: list[Load]) -> tuple[float, float]:
    return spread([one.load_cpu for one in runs]).median, spread([one.server_cpu for one in runs]).median


def lonely(setting: Setting) -> None:
    """One connection: nothing to share a commit with."""
    runs = []
    for _ in range(setting.runs):
        with Server(setting.big) as server:
            runs.append(
                load.run(
                    server, API_KEY, "send", secs=3, connections=1, keys=Keys(setting.shuffled, 0, 10**9)
                )
            )
    p50, p99 = spread([one.p50_ms for one in runs]), spread([one.p99_ms for one in runs])
    setting.table.add(
        Row(
            "one lonely send, p50",
            "<= 1 ms",
            f"{p50} ms",
            p50.median <= 1,
            f"p99 {p99} ms, {spread([one.per_sec for one in runs])}/s",
        )
    )


def opens(setting: Setting) -> None:
    runs = []
    for _ in range(setting.runs):
        with Server(setting.big) as server:
            load.run(server, API_KEY, "open", secs=1)
            runs.append(load.run(server, API_KEY, "open", secs=setting.secs))
    rate = spread([one.per_sec for one in runs])
    setting.table.add(
        Row(
            "opening waits, 64 connections",
            ">= 6,000/s",
            f"{rate}/s",
            rate.median >= 6000,
            f"p99 {spread([one.p99_ms for one in runs])} ms; random keys and due times",
        )
    )


def batches(setting: Setting) -> None:
    runs = []
    for _ in range(setting.runs):
        with Server(setting.big) as server:
            runs.append(
                load.run(
                    server,
                    API_KEY,
                    "batch",
                    secs=setting.secs,
                    connections=16,
                    keys=Keys(setting.shuffled, 0, 10**9),
                )
            )
    rate = spread([one.per_sec * 100 for one in runs])
    setting.table.add(
        Row(
            "batch sends of 100, 16 connections, random keys",
            ">= 15,000 events/s",
            f"{rate} events/s",
            rate.median >= 15_000,
            f"p99 of a batch {spread([one.p99_ms for one in runs])} ms",
        )
    )


def sizes(setting: Setting) -> None:
    """The cost of a send with many waits against few. Few are 50,000: with 10,000 a run would end
    within a second for want of waits, and both fit into the cache whole."""
    rate: dict[tuple[str, str], list[float]] = {}
    pairs = (
        ("random", setting.shuffled, setting.shuffled_small),
        ("in order", setting.ordered, setting.ordered_small),
    )
    for _ in range(setting.runs):
        for words, many, few in pairs:
            for size, prepared, keys in (("many", setting.big, many), ("few", setting.small, few)):
                with Server(prepared) as server:
                    load.run(server, API_KEY, "send", secs=1, connections=8, keys=Keys(keys, 0, 15_000))
                    found = load.run(server, API_KEY, "send", secs=1, keys=Keys(keys, 15_000, 10**9))
                rate.setdefault((words, size), []).append(found.per_sec)
    for words, most in (("random", 2.3), ("in order", 1.25)):
        of_many, of_few = spread(rate[words, "many"]), spread(rate[words, "few"])
        times = of_few.median / of_many.median
        setting.table.add(
            Row(
                f"cost of a send with {setting.rows:,} waits against 50,000, {words}",
                f"<= {most} times (10 M against 10 k)",
                f"{figure(times)} times",
                times <= most,
                f"{of_many}/s against {of_few}/s",
            )
        )


def disk(setting: Setting) -> None:
    """Bytes on disk of waits that were opened over HTTP, not copied, with random keys and due times."""
    each = []
    for _ in range(setting.runs):
        with Server(WORK / "empty.db") as server:
            before = server.database.stat().st_size
            opened = load.run(server, API_KEY, "open", secs=setting.secs).requests
        connection = sqlite.connect(server.database)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.close()
        each.append((server.database.stat().st_size - before) / opened)
    size = spread(each)
    setting.table.add(
        Row(
            "bytes on disk per waiting trigger",
            "<= 700",
            f"{size}",
            size.median <= 700,
            "opened over HTTP, its fact included",
        )
    )


def profile(setting: Setting) -> None:
    secs = 6
    with Server(setting.big) as server:
        load.run(server, API_KEY, "send", secs=1, keys=Keys(setting.shuffled, 0, WARM_KEYS))
        recorder = profiling.profile(server, secs)
        load.run(server, API_KEY, "send", secs=secs + 2, keys=Keys(setting.shuffled, WARM_KEYS, 10**9))
        said, _ = recorder.communicate(timeout=60)
    if recorder.returncode:
        print(said)
    setting.table.profile = profiling.table(secs)
    print("\n".join(setting.table.profile))
