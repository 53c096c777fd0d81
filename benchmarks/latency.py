"""A server with little to do: idle costs, single requests, cold start, a waiter that is resumed."""

from __future__ import annotations

import time

from benchmarks import clients
from benchmarks.report import Row, figure, quantile
from benchmarks.server import Server
from benchmarks.setting import Setting, spread


def idle(setting: Setting) -> None:
    """A server with nothing to do: CPU, memory, reads, and a waiter that is resumed."""
    cpu, memory, resumed, stats, page = [], [], [], [], []
    for _ in range(setting.runs):
        with Server(setting.big) as server:
            time.sleep(2)
            before = server.cpu_secs()
            time.sleep(5)
            cpu.append((server.cpu_secs() - before) / 5 * 100)
            memory.append(server.memory_bytes() / 1e6)
            clients.milliseconds(server.port, "GET", "/v1/events/stats", 20)
            stats += clients.milliseconds(server.port, "GET", "/v1/events/stats", 200)
            page += clients.milliseconds(server.port, "GET", "/v1/events", 200)
            resumed += clients.resumed_milliseconds(server.port, 200)
    used, held = spread(cpu), spread(memory)
    add = setting.table.add
    add(
        Row(
            f"idle with {setting.rows:,} waits: CPU / memory",
            "< 1 % / < 120 MB",
            f"{used} % / {held} MB",
            used.median < 1 and held.median < 120,
        )
    )
    first, last = quantile(stats, 0.5), quantile(page, 0.5)
    add(
        Row(
            f"`stats` / first page of the list, {setting.rows:,} waits, p50",
            "<= 5 ms",
            f"{figure(first)} / {figure(last)} ms",
            first <= 5 and last <= 5,
            f"client; p99 {figure(quantile(stats, 0.99))} / {figure(quantile(page, 0.99))} ms",
        )
    )
    p50, p99 = quantile(resumed, 0.5), quantile(resumed, 0.99)
    add(
        Row(
            "send to resumed (long poll), p50 / p99, idle",
            "<= 5 / 15 ms",
            f"{figure(p50)} / {figure(p99)} ms",
            p50 <= 5 and p99 <= 15,
            f"client; {len(resumed)} waits",
        )
    )


def cold_start(setting: Setting) -> None:
    secs = []
    for _ in range(setting.runs):
        with Server(setting.big, plain=True) as server:
            secs.append(server.started_secs)
    took = spread(secs)
    setting.table.add(
        Row(
            "cold start to the first answer of `/readyz`",
            "<= 1 s",
            f"{took} s",
            took.median <= 1,
            f"{setting.rows:,} waits",
        )
    )
