"""Makes a database with many workflow runs that wait: the real server starts one of three steps (a job, a wait,
a job), its first job is done, and whatever rows that are is copied with other ids and keys.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from benchmarks import copying, prepare
from benchmarks.clients import Wire, claim, finishing
from benchmarks.copying import Pattern, Template, multiply
from benchmarks.databases import Database
from benchmarks.prepare import PROJECT, count_more
from benchmarks.prepare_runs import JOB
from benchmarks.server import Server
from benchmarks.tables import Tables

FLOW = "flow"
KEY = f"{FLOW}:template"
STEPS: list[dict[str, Any]] = [
    {"step_ref": "before", "job_slug": JOB},
    {
        "step_ref": "hold",
        "type": "wait_for_event",
        "event_key": "{{payload.key}}",
        "timeout_secs": 30 * 86_400,
        "depends_on": ["before"],
    },
    {"step_ref": "after", "job_slug": JOB, "depends_on": ["hold"]},
]
#: Where a workflow run leaves rows, and what in them names it.
_TABLES = {
    "roots": "id",
    "workflow_runs": "id",
    "steps": "workflow_run_id",
    "runs": "workflow_run_id",
    "wait_groups": "workflow_run_id",
    "triggers": "workflow_run_id",
    "facts": "root_id",
}


def waiting(database: Database, small: str, count: int) -> str:
    """The name of a prepared database with `count` workflow runs more than `small` has, waiting under the keys
    `flow:000000000` and so on; made once per schema."""
    stem = f"flows_{count}_"
    name = stem + _version(database)
    if name not in database.prepared():
        prepare.forget(database, stem)
        print(f"preparing {count:,} workflow runs on {database.title} ...", flush=True)
        copy = database.fresh(small)
        with Server(copy) as server:
            workflow_run_id = _start(server)
        with copy.tables() as tables:
            crowd(tables, workflow_run_id, count)
        database.keep(copy, name)
    return name


def _version(database: Database) -> str:
    texts = (Path(file).read_text() for file in (prepare.__file__, copying.__file__, __file__))
    return hashlib.sha256("".join((database.schema, *texts)).encode()).hexdigest()[:12]


def _start(server: Server) -> str:
    """One workflow run whose first job is done; its id."""
    wire = Wire(server.port)
    wire.call("POST", "/v1/jobs", {"slug": JOB})
    wire.call("POST", "/v1/workflows", {"slug": FLOW, "steps": STEPS})
    run = wire.call("POST", f"/v1/workflows/{FLOW}/trigger", {"payload": {"key": KEY}})
    for claimed in claim(wire, JOB, 1):
        wire.milliseconds(finishing(*claimed))
    if wire.call("GET", f"/v1/events/{KEY}")["status"] != "waiting":
        raise SystemExit("the workflow run does not wait")
    wire.close()
    return str(run["id"])


def crowd(tables: Tables, workflow_run_id: str, count: int) -> None:
    """So many more workflow runs that are as this one is."""
    multiply(tables, Pattern(_template(tables, workflow_run_id), KEY, FLOW), count)
    count_more(tables, "counters", "waiting", count)
    count_more(tables, "counters", "workflow_runs", count)
    count_more(tables, "run_counters", "completed", count)
    count_more(tables, "workflow_run_counters", "running", count)
    tables.finish()


def _template(tables: Tables, workflow_run_id: str) -> Template:
    # By the project and a lower bound of the id, too: nothing that is older is read.
    newest = f"project_id = '{PROJECT}' and {{}} >= '{workflow_run_id}'"
    return {
        table: tables.rows(
            f"select * from {table} where {newest.format('workflow_run_id' if table == 'steps' else 'id')}"
            f" and {column} = '{workflow_run_id}'"
        )
        for table, column in _TABLES.items()
    }
