"""A server with little to do: idle costs, single requests, cold start, a waiter that is resumed."""

from __future__ import annotations

import time

from benchmarks import clients
from benchmarks.report import figure, quantile
from benchmarks.setting import Setting, spread


def idle(setting: Setting) -> None:
    """A server with nothing to do: CPU, memory, and reads."""
    cpu, database_cpu, memory, stats, page = [], [], [], [], []
    for _ in range(setting.runs):
        with setting.server(setting.big) as server:
            time.sleep(2)
            before, database_before = server.cpu_secs(), server.copy.cpu_secs()
            time.sleep(5)
            cpu.append((server.cpu_secs() - before) / 5 * 100)
            database_cpu.append((server.copy.cpu_secs() - database_before) / 5 * 100)
            memory.append(server.memory_bytes() / 1e6)
            clients.milliseconds(server.port, "GET", "/v1/events/stats", 20)
            stats += clients.milliseconds(server.port, "GET", "/v1/events/stats", 200)
            page += clients.milliseconds(server.port, "GET", "/v1/events", 200)
    used, held = spread(cpu), spread(memory)
    setting.add(
        f"idle with {setting.rows:,} waits: CPU / memory",
        "< 1 % / < 120 MB",
        f"{used} % / {held} MB",
        used.median < 1 and held.median < 120,
        f"PostgreSQL {spread(database_cpu)} %" if setting.database.is_shared else "",
    )
    first, last = quantile(stats, 0.5), quantile(page, 0.5)
    most = setting.of(5, 10)
    setting.add(
        f"`stats` / first page of the list, {setting.rows:,} waits, p50",
        f"<= {most} ms",
        f"{figure(first)} / {figure(last)} ms",
        first <= most and last <= most,
        f"client; p99 {figure(quantile(stats, 0.99))} / {figure(quantile(page, 0.99))} ms",
    )


def resumed(setting: Setting) -> None:
    """A long poll that gets its payload, of two nodes on the one that the event was not sent to."""
    took: list[float] = []
    for _ in range(setting.runs):
        with setting.server(setting.big) as server:
            took += clients.resumed_milliseconds(server.ports[0], server.ports[-1], 200)
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    what, (p50_most, p99_most) = "send to resumed (long poll), p50 / p99, idle", setting.of((5, 15), (10, 30))
    setting.add(
        what,
        f"<= {p50_most} / {p99_most} ms",
        f"{figure(p50)} / {figure(p99)} ms",
        p50 <= p50_most and p99 <= p99_most,
        f"client; {len(took)} waits" + (", sent on another node" if setting.nodes > 1 else ""),
    )


def cold_start(setting: Setting) -> None:
    """Of `narrows serve` itself."""
    secs = []
    for _ in range(setting.runs):
        with setting.server(setting.big, plain=True) as server:
            secs.append(server.started_secs)
    took = spread(secs)
    setting.add(
        "cold start to the first answer of `/readyz`",
        "<= 1 s",
        f"{took} s",
        took.median <= 1,
        f"{setting.rows:,} waits",
    )
