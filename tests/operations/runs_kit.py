"""Jobs and runs for the tests of their reads: records with everything that a test does not care about
filled in, and put into a database as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from narrows.core.run_records import Job, Message, Run, RunCounters, WaitGroup
from narrows.core.states import ENDED, GroupMode, OnEnd, RunStatus
from tests.operations.reads_kit import NOW, SECOND, Reads

_TABLES = {
    Job: "jobs",
    Run: "runs",
    WaitGroup: "wait_groups",
    RunCounters: "run_counters",
    Message: "messages",
}


def put(reads: Reads, records: Iterable[Any]) -> None:
    """Insert records of one kind, column by name."""
    records = list(records)
    fields = records[0]._fields
    sql = f"insert into {_TABLES[type(records[0])]} ({', '.join(fields)}) values ({', '.join('?' * len(fields))})"
    with reads.connection:
        reads.connection.executemany(sql, records)


def make_job(job_id: str, slug: str, **changes: Any) -> Job:
    job = Job("p", job_id, slug, None, None, None, 300, 3, None, None, "[]", 1, NOW, NOW, None)
    return job._replace(**changes)


def make_run(run_id: str, job_id: str, at: int = NOW, **changes: Any) -> Run:
    status = changes.get("status", RunStatus.QUEUED)
    if status in ENDED:
        changes.setdefault("finished_at", at + SECOND)
    if status in (RunStatus.DELAYED, RunStatus.EXECUTING):
        changes.setdefault("due_at", at + SECOND)
    run = Run(
        "p", run_id, job_id, 1, RunStatus.QUEUED, 0, 1, 0, 300, 3, run_id, None, None, None, None, None,
        None, None, None, None, None, None, None, None, None, "dev", at, None, None, None, None, None,
    )  # fmt: skip
    return run._replace(**changes)


def make_group(group_id: str, run_id: str, *trigger_ids: str, **changes: Any) -> WaitGroup:
    ids = "[" + ",".join(f'"{each}"' for each in trigger_ids) + "]"
    group = WaitGroup("p", group_id, run_id, run_id, GroupMode.ALL, 1, ids, OnEnd.END, OnEnd.END, NOW)
    return group._replace(**changes)
