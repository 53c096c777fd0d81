"""The jobs of the three workflows of a night: a table is loaded, the tables are compared, a report is made."""

from __future__ import annotations

import contextlib
from typing import Any

from narrows.client import Client, DoNotRetry, Worker, WorkerRun
from narrows.errors import Conflict

ROWS = {"orders": 1_204, "customers": 318}


def load_table(run: WorkerRun) -> dict[str, Any]:
    table = run.payload["table"]
    run.log(f"loading {table} of {run.payload['date']}")
    return {"table": table, "rows": ROWS[table]}


def check_tables(run: WorkerRun) -> dict[str, Any]:
    events = run.payload["parent_outputs"]["tables"]["events"]
    rows = {event["payload"]["table"]: event["payload"]["rows"] for event in events}
    if not all(rows.values()):
        raise DoNotRetry(f"a table is empty: {rows}")
    return {"rows": rows}


def make_report(run: WorkerRun) -> dict[str, Any]:
    figures = run.payload["parent_outputs"]["release"]
    return {"report": f"{run.payload['shop']}-{run.payload['date']}.pdf", "figures": figures}


HANDLERS = {
    "nightly-load-table": load_table,
    "nightly-check-tables": check_tables,
    "nightly-make-report": make_report,
}

if __name__ == "__main__":
    with Client() as client:
        for slug in HANDLERS:
            with contextlib.suppress(Conflict):  # it is there already
                client.create_job(slug)
        Worker(client, HANDLERS).run()
