"""How late time-outs are: a thousand a second, idle and under load, and many at one instant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks import clients, load, prepare
from benchmarks.clients import Wire
from benchmarks.databases import Copy
from benchmarks.load import Part
from benchmarks.prepare import API_KEY, PROJECT, US
from benchmarks.report import figure, quantile
from benchmarks.server import Server
from benchmarks.setting import Setting, spread

_COUNT = 6_000
#: From choosing the due time to the first due row: adding the rows and starting the server take less, or on a
#: busy machine less than the next.
_AHEAD_SECS = (10.0, 20.0, 60.0)


@contextmanager
def _with_due(
    setting: Setting, count: int, per_sec: float
) -> Iterator[tuple[Server, int, list[tuple[str, int]]]]:
    """A server whose database has `count` more waits, of which the first is due soon."""
    for ahead_secs in _AHEAD_SECS:
        server = setting.server(setting.big)
        due_at = int((time.time() + ahead_secs) * US)
        prepare.add(server.copy, count, "due", due_at=due_at, per_sec=per_sec)
        watched = _due(server.copy, "id", "expires_at")[::30]
        with server:
            if time.time() < due_at / US - 2:
                yield server, due_at, watched
                return
    raise SystemExit("the server was up too late: this machine is too busy")


def _sleep_until(moment: int, more_secs: float) -> None:
    time.sleep(max(0.0, moment / US + more_secs - time.time()))


def _due(copy: Copy, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of the triggers that were added, in the order in which they are due."""
    # The project is first in the index: without it every row is read, half a minute with 10 million.
    with copy.tables() as tables:
        rows = tables.rows(
            f"select {', '.join(columns)} from triggers where project_id = '{PROJECT}'"
            " and event_key >= 'due:' and event_key < 'due;' order by expires_at"
        )
    return [tuple(row[column] for column in columns) for row in rows]


class Lateness(NamedTuple):
    """Milliseconds after the due time: of all by the server's stamps, of some as a long poll saw it."""

    stamped: list[float]
    seen: list[float]


def _late(setting: Setting, *, loaded: bool) -> Lateness:
    """One run: 1,000 time-outs a second over 6 s, each 30th watched by a long poll."""
    with (
        _with_due(setting, _COUNT, 1000) as (server, due_at, watched),
        ThreadPoolExecutor(1) as beside,
    ):
        seen = beside.submit(clients.settled_secs, server.port, [trigger_id for trigger_id, _ in watched])
        _sleep_until(due_at, -1)
        if loaded:
            load.run(server, API_KEY, "send", secs=8, keys=Part(setting.keys.shuffled, 0, 10**9))
        answered = seen.result()
    stamps = _due(server.copy, "settled_at", "expires_at")
    if any(settled_at is None for settled_at, _ in stamps):
        raise SystemExit("not every time-out happened")
    return Lateness(
        [(settled_at - expires_at) / 1000 for settled_at, expires_at in stamps],
        [at * 1000 - expires_at / 1000 for at, (_, expires_at) in zip(answered, watched, strict=True)],
    )


def lateness(setting: Setting) -> None:
    """1,000 time-outs a second: idle, and beside a full load of sends; in turn."""
    found: dict[bool, list[Lateness]] = {False: [], True: []}
    for _ in range(setting.runs):
        for loaded, runs in found.items():
            runs.append(_late(setting, loaded=loaded))
    for loaded, words, (p50_most, p99_most) in (
        (False, "1,000 a second", setting.of((2, 15), (3, 20))),
        (True, "1,000 a second beside a full load of sends", (10, 50)),
    ):
        seen = [late for run in found[loaded] for late in run.seen]
        stamped = [late for run in found[loaded] for late in run.stamped]
        p50, p99 = quantile(seen, 0.5), quantile(seen, 0.99)
        of_all = f"{figure(quantile(stamped, 0.5))} / {figure(quantile(stamped, 0.99))} ms, largest {figure(max(stamped))}"
        setting.add(
            f"lateness of time-outs p50 / p99, {words}",
            f"<= {p50_most} / {p99_most} ms",
            f"{figure(p50)} / {figure(p99)} ms",
            p50 <= p50_most and p99 <= p99_most,
            f"client; {len(seen)} long polls; the stamps of all {len(stamped):,}: {of_all}",
        )


def at_one_instant(setting: Setting) -> None:
    """100,000 waits that are due at the same microsecond."""
    secs = []
    for _ in range(setting.runs):
        with _with_due(setting, 100_000, 0) as (server, due_at, _):
            _sleep_until(due_at, 0)
            wire = Wire(server.port)
            while wire.call("GET", "/v1/events/stats")["timed_out_count"] < 100_000:
                time.sleep(0.02)
            secs.append(time.time() - due_at / US)
    took, most = spread(secs), setting.of(6, 8)
    what = "100,000 time-outs due at one instant: all done after"
    note = setting.against_one_node(what, took.median) + "client; seen in `stats`"
    setting.add(what, f"<= {most} s", f"{took} s", took.median <= most, note)
