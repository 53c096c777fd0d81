"""How late time-outs are: a thousand a second, idle and under load, and many at one instant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import clients, load
from benchmarks.clients import Wire
from benchmarks.load import Keys
from benchmarks.prepare import API_KEY
from benchmarks.report import Row, figure, quantile
from benchmarks.server import Server
from benchmarks.setting import US, Setting, add_waits, spread
from narrows.storage import sqlite


@contextmanager
def _with_due(
    setting: Setting, count: int, per_sec: float, delay_secs: float
) -> Iterator[tuple[Server, int]]:
    """A server whose database has `count` more waits that are due from `delay_secs` on."""
    server = Server(setting.big)
    due_at = int((time.time() + delay_secs) * US)
    add_waits(server.database, count, "due", due_at=due_at, per_sec=per_sec)
    with server:
        yield server, due_at


def _sleep_until(moment: int, more_secs: float) -> None:
    time.sleep(max(0.0, moment / US + more_secs - time.time()))


def _lateness(database: Path, prefix: str) -> list[float]:
    """Milliseconds between due and settled, as the server stamped them."""
    connection = sqlite.connect(database, read_only=True)
    low, high = f"{prefix}:", f"{prefix};"
    found = connection.execute(
        "select (settled_at - expires_at) / 1000.0 from triggers where event_key >= ? and event_key < ? and status = 'timed_out'",
        (low, high),
    )
    late = [value for (value,) in found]
    connection.close()
    return late


def lateness(setting: Setting) -> None:
    """1,000 time-outs a second over 10 s: idle, and beside a full load of sends; in turn."""
    count = 10_000
    late: dict[str, list[float]] = {"idle": [], "loaded": []}
    commit_ms: dict[str, list[float]] = {"idle": [], "loaded": []}
    for _ in range(setting.runs):
        for name in late:
            with _with_due(setting, count, 1000, 5.0) as (server, due_at):
                _sleep_until(due_at, -1)
                if name == "loaded":
                    load.run(server, API_KEY, "send", secs=12, keys=Keys(setting.shuffled, 0, 10**9))
                _sleep_until(due_at, 11)
                commit_ms[name].append(_commit_ms(server))
            found = _lateness(server.database, "due")
            if len(found) != count:
                raise SystemExit(f"{len(found)} of {count} time-outs happened")
            late[name] += found
    for name, words, p50_most, p99_most in (
        ("idle", "1,000 a second", 2, 15),
        ("loaded", "1,000 a second beside a full load of sends", 10, 50),
    ):
        commit = spread(commit_ms[name]).median
        p50, p99 = quantile(late[name], 0.5) + commit, quantile(late[name], 0.99) + commit
        setting.table.add(
            Row(
                f"lateness of time-outs p50 / p99, {words}",
                f"<= {p50_most} / {p99_most} ms",
                f"{figure(p50)} / {figure(p99)} ms",
                p50 <= p50_most and p99 <= p99_most,
                f"stamp minus due time, plus the mean commit of {figure(commit)} ms; largest {figure(max(late[name]) + commit)} ms",
            )
        )


def _commit_ms(server: Server) -> float:
    """The mean time of a commit, from the server's own metrics."""
    wire = clients.get_text(server.port, "/metrics")
    values = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in wire.splitlines()
        if line and line[0] != "#"
    }
    spent = sum(
        value
        for name, value in values.items()
        if "commit" in name and name.partition("{")[0].endswith("_sum")
    )
    count = sum(
        value
        for name, value in values.items()
        if "commit" in name and name.partition("{")[0].endswith("_count")
    )
    return 1000 * spent / count if count else 0.0


def at_one_instant(setting: Setting) -> None:
    secs = []
    for _ in range(setting.runs):
        with _with_due(setting, 100_000, 0, 8.0) as (server, due_at):
            wire = Wire(server.port)
            _sleep_until(due_at, 0)
            while wire.call("GET", "/v1/events/stats")["timed_out_count"] < 100_000:
                time.sleep(0.02)
            secs.append(time.time() - due_at / US)
    took = spread(secs)
    setting.table.add(
        Row(
            "100,000 time-outs due at one instant: all done after",
            "<= 6 s",
            f"{took} s",
            took.median <= 6,
            "client; seen in `stats`",
        )
    )
