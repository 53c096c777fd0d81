"""Opens and batches a second under `wrk`, what waits cost on disk, and where the time of a send goes."""

from __future__ import annotations

from benchmarks import load, profiling
from benchmarks.databases import Copy
from benchmarks.load import Part
from benchmarks.prepare import API_KEY
from benchmarks.report import figure
from benchmarks.setting import WARM_KEYS, Setting, spread

#: Tables whose share of the disk is worth a word.
_LARGE = "('triggers', 'facts', 'batches')"


def opens(setting: Setting) -> None:
    """Random keys and due times."""
    runs = []
    for _ in range(setting.runs):
        with setting.server(setting.big) as server:
            load.run(server, API_KEY, "open", secs=1)
            runs.append(load.run(server, API_KEY, "open", secs=setting.secs))
    rate = spread([one.per_sec for one in runs])
    what, least = "opening waits, 64 connections", setting.of(6_000, 5_000)
    setting.add(
        what,
        f">= {least:,}/s",
        f"{rate}/s",
        rate.median >= least,
        setting.against_one_node(what, rate.median)
        + f"p99 {spread([one.p99_ms for one in runs])} ms; random keys and due times",
    )


def batches(setting: Setting) -> None:
    """A hundred events a request."""
    runs = []
    for _ in range(setting.runs):
        with setting.server(setting.big) as server:
            keys = Part(setting.keys.shuffled, 0, 10**9)
            runs.append(load.run(server, API_KEY, "batch", secs=setting.secs, connections=16, keys=keys))
    rate = spread([one.per_sec * 100 for one in runs])
    what, least = "batch sends of 100, 16 connections, random keys", setting.of(15_000, 12_000)
    setting.add(
        what,
        f">= {least:,} events/s",
        f"{rate} events/s",
        rate.median >= least,
        setting.against_one_node(what, rate.median)
        + f"p99 of a batch {spread([one.p99_ms for one in runs])} ms",
    )


def disk(setting: Setting) -> None:
    """Bytes on disk of waits that were opened over HTTP, not copied, with random keys and due times."""
    each, parts = [], ""
    for _ in range(setting.runs):
        with setting.server(setting.empty) as server:
            before = server.copy.size_bytes()
            opened = load.run(server, API_KEY, "open", secs=setting.secs).requests
        each.append((server.copy.size_bytes() - before) / opened)
        parts = _parts(setting, server.copy, opened)
    size, most = spread(each), setting.of(700, 1_300)
    setting.add(
        "bytes on disk per waiting trigger",
        f"<= {most:,}",
        f"{size}",
        size.median <= most,
        "opened over HTTP, its fact included" + parts,
    )


def _parts(setting: Setting, copy: Copy, opened: int) -> str:
    """What of it is whose, indexes included, where the database tells."""
    if not setting.database.is_shared:
        return ""
    with copy.tables() as tables:
        rows = tables.rows(
            "select relname, pg_table_size(oid) as bare, pg_indexes_size(oid) as indexes from pg_class"
            f" where relname in {_LARGE} and relkind = 'r' order by 2 desc"
        )
    of_each = (
        f"{row['relname']} {figure(row['bare'] / opened)} + {figure(row['indexes'] / opened)}" for row in rows
    )
    return f"; table + indexes: {', '.join(of_each)}"


def profile(setting: Setting) -> None:
    """Where the time of a send goes in the server's process."""
    secs = 6
    with setting.server(setting.big) as server:
        load.run(server, API_KEY, "send", secs=1, keys=Part(setting.keys.shuffled, 0, WARM_KEYS))
        recorder = profiling.profile(server, secs)
        keys = Part(setting.keys.shuffled, WARM_KEYS, 10**9)
        load.run(server, API_KEY, "send", secs=secs + 2, keys=keys)
        said, _ = recorder.communicate(timeout=60)
    if recorder.returncode:
        print(said)
    found = profiling.table(secs, setting.place)
    setting.table.profile += found
    print("\n".join(found))
