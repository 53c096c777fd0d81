"""Makes databases with many runs, as `prepare.py` makes those with many waits: the real server makes one
run, queued or waiting, and whatever rows that are is copied with other ids and keys.
"""

from __future__ import annotations

from benchmarks import prepare
from benchmarks.clients import Wire
from benchmarks.copying import Pattern, Template, multiply
from benchmarks.databases import Database
from benchmarks.prepare import PROJECT, count_more
from benchmarks.server import Server
from benchmarks.tables import Tables

JOB = "bench"
KEY = "template:0"
#: Where a run leaves rows, and what names them there.
_TABLES = ("roots", "runs", "wait_groups", "triggers", "facts")


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
    multiply(tables, Pattern(_template(tables), KEY, "wait"), count)
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
