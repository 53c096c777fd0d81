"""Makes databases with many runs, as `prepare.py` makes those with many waits: the real server makes one
run, queued or waiting, and whatever rows that are is copied with other ids and keys.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from benchmarks import prepare
from benchmarks.clients import Wire
from benchmarks.databases import Database
from benchmarks.prepare import PROJECT, chunks, count_more
from benchmarks.server import Server
from benchmarks.tables import Rows, Tables
from narrows.core.ids import make_id

JOB = "bench"
KEY = "template:0"
#: Where a run leaves rows, and what names them there.
_TABLES = ("roots", "runs", "wait_groups", "triggers", "facts")
Template = dict[str, Rows]


def runs(database: Database, state: str, rows: int) -> str:
    """The name of a prepared database whose job `bench` has `rows` runs in that state; made anew each time, since
    leases and delays of old runs would be over."""
    name = f"runs_{state}_{rows}"
    prepare.forget(database, name)
    copy = prepare.empty(database)
    with Server(copy) as server:
        wire = Wire(server.port)
        wire.call("POST", "/v1/jobs", {"slug": JOB})
        wire.call("POST", f"/v1/jobs/{JOB}/trigger", {"payload": {"number": 1}})
        if state == "waiting":
            (claimed,) = wire.call("POST", "/v1/workers/claim", {"jobs": [JOB], "wait_secs": 0})["runs"]
            wait = {"event_key": KEY, "timeout_secs": 30 * 86_400}
            path = f"/sdk/v1/runs/{claimed['run']['id']}/wait-for-event"
            wire.call("POST", path, wait, token=claimed["run_token"])
        wire.close()
    with copy.tables() as tables:
        _multiply(tables, state, rows - 1)
    database.keep(copy, name)
    return name


def _multiply(tables: Tables, state: str, count: int) -> None:
    template = _template(tables)
    now = time.time_ns() // 1000
    start = now - count * 100
    for chunk in chunks(_copy(template, number, start + number * 100) for number in range(count)):
        for table, rows in template.items():
            for position in range(len(rows)):
                tables.insert(table, [copied[table][position] for copied in chunk])
    count_more(tables, "run_counters", state, count)
    if state == "waiting":
        count_more(tables, "counters", "waiting", count)
    tables.finish()


def _template(tables: Tables) -> Template:
    found: Template = {}
    for table in _TABLES:
        if rows := tables.rows(f"select * from {table} where project_id = '{PROJECT}'"):
            found[table] = rows
    (run,) = found["runs"]
    found["facts"] = [fact for fact in found["facts"] if fact["root_id"] == run["root_id"]]
    return found


def _copy(template: Template, number: int, at: int) -> Template:
    """All rows of one run with new ids, which stay what they were to each other."""
    entropy = int.from_bytes(hashlib.blake2b(b"%d" % number, digest_size=8).digest(), "big")
    olds = sorted({row["id"] for rows in template.values() for row in rows})
    new = {old: make_id(at, position, entropy) for position, old in enumerate(olds)}

    def renamed(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value == KEY:
            return f"wait:{number:09}"
        if value.startswith("["):  # the triggers of a wait group
            for old, id_ in new.items():
                value = value.replace(old, id_)
        return new.get(value, value)

    return {
        table: [{name: renamed(value) for name, value in row.items()} for row in rows]
        for table, rows in template.items()
    }
