"""Makes databases with many runs, as `prepare.py` makes those with many waits: the real server makes one
run, queued or waiting, and whatever rows that are is copied with other ids and keys.

    python -m benchmarks.prepare_runs queued --rows 1000000 --out FILE
    python -m benchmarks.prepare_runs waiting --rows 100000 --out FILE
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path
from typing import Any

import apsw

from benchmarks.clients import Wire
from benchmarks.prepare import PROJECT, _chunks, _finish, _make_empty, _sql
from benchmarks.server import WORK, Server
from narrows.core.ids import make_id
from narrows.storage import sqlite

JOB = "bench"
KEY = "template:0"
#: Where a run leaves rows, and what names them there.
_TABLES = ("roots", "runs", "wait_groups", "triggers", "facts")
Tables = dict[str, list[dict[str, Any]]]


def make(state: str, rows: int, out: Path) -> None:
    """A database whose job `bench` has `rows` runs in that state."""
    empty = WORK / "empty-runs.db"
    _make_empty(empty)
    with Server(empty) as server:
        wire = Wire(server.port)
        wire.call("POST", "/v1/jobs", {"slug": JOB})
        wire.call("POST", f"/v1/jobs/{JOB}/trigger", {"payload": {"number": 1}})
        if state == "waiting":
            (claimed,) = wire.call("POST", "/v1/workers/claim", {"jobs": [JOB], "wait_secs": 0})["runs"]
            wait = {"event_key": KEY, "timeout_secs": 30 * 86_400}
            path = f"/sdk/v1/runs/{claimed['run']['id']}/wait-for-event"
            wire.call("POST", path, wait, token=claimed["run_token"])
        wire.close()
    server.database.replace(out)
    for suffix in ("-wal", "-shm"):
        Path(f"{server.database}{suffix}").unlink(missing_ok=True)
    _multiply(out, state, rows - 1)


def _multiply(path: Path, state: str, count: int) -> None:
    connection = sqlite.connect(path, cache_mib=512)
    connection.execute("pragma synchronous = off")
    template = _template(connection)
    now = time.time_ns() // 1000
    start = now - count * 100
    for chunk in _chunks(_copy(template, number, start + number * 100) for number in range(count)):
        with connection:
            for table, rows in template.items():
                for position, row in enumerate(rows):
                    connection.executemany(_sql(table, row), (copied[table][position] for copied in chunk))
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.execute(f"update run_counters set {state} = {state} + ?", (count,))
    if state == "waiting":
        connection.execute("update counters set waiting = waiting + ? where project_id = ?", (count, PROJECT))
    _finish(connection)


def _template(connection: apsw.Connection) -> Tables:
    found: Tables = {}
    for table in _TABLES:
        cursor = connection.execute(f"select * from {table} where project_id = ?", (PROJECT,))
        for row in cursor:
            names = [column[0] for column in cursor.get_description()]
            found.setdefault(table, []).append(dict(zip(names, row, strict=True)))
    (run,) = found["runs"]
    found["facts"] = [fact for fact in found["facts"] if fact["root_id"] == run["root_id"]]
    return found


def _copy(template: Tables, number: int, at: int) -> Tables:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("state", choices=("queued", "waiting"))
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    make(given.state, given.rows, given.out)


if __name__ == "__main__":
    main()
