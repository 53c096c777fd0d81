"""Makes the databases that are measured, by the fastest honest way: the real server opens one wait,
and that row and its fact are copied with other ids, keys and times until there are enough.

So the rows look as the server writes them, whatever the schema. The two time-ordered trees are filled
in order, as they fill in life; the index of due times at random. Runs in a process of its own, so
that it and a server never have the same file open.

    python -m benchmarks.prepare base --rows 1000000 --out FILE
    python -m benchmarks.prepare add FILE --count 10000 --prefix due --due-at ... --per-sec 1000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from benchmarks.server import HOST, WORK, Server
from narrows.api.keys import hash_secret, make_key, make_key_id
from narrows.core.ids import make_id
from narrows.storage import sqlite

PROJECT = "bench"
#: Fixed, so that a prepared database and its key can be used again. It opens nothing but these files.
API_KEY = make_key(make_key_id(1_700_000_000_000_000, b"benc"), b"0123456789abcdef0123456789abcdef")
_US = 1_000_000
_DAY_US = 86_400 * _US
_CHUNK = 50_000


class Wait(NamedTuple):
    """What differs from the template."""

    event_key: str
    requested_at: int
    expires_at: int


def base(rows: int, out: Path) -> None:
    """A database with one project, one key and `rows` waits, `wait:000000000` and so on."""
    empty = WORK / "empty.db"
    _make_empty(empty)
    with Server(empty) as server:
        _open(server, "template:0")
    server.database.replace(out)
    for suffix in ("-wal", "-shm"):
        Path(f"{server.database}{suffix}").unlink(missing_ok=True)
    now = time.time_ns() // 1000
    start = now - rows * 100 - 10 * _US
    randomness = random.Random(rows)
    waits = (
        Wait(
            f"wait:{number:09}",
            at := start + number * 100,
            at + randomness.randrange(2 * _DAY_US, 30 * _DAY_US),
        )
        for number in range(rows)
    )
    _insert(out, waits, rebuild=True)


def add(database: Path, count: int, prefix: str, due_at: int, per_sec: float, scattered: bool) -> None:
    """More waits, due from `due_at` on at `per_sec` (0: all at that instant); `scattered` puts their
    rows at random places among the others instead of at the end."""
    now = time.time_ns() // 1000
    randomness = random.Random(count)
    gap = int(_US / per_sec) if per_sec else 0
    places = [now - randomness.randrange(100 * _US) if scattered else now - count + n for n in range(count)]
    waits = [
        Wait(f"{prefix}:{number:09}", place, (due_at or now + _DAY_US) + number * gap)
        for number, place in enumerate(places)
    ]
    _insert(database, waits, rebuild=False)


def _make_empty(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    connection = sqlite.connect(path)
    now = time.time_ns() // 1000
    sqlite.migrate(connection, now)
    key_id = API_KEY.split("_")[1]
    connection.execute("insert into projects (id, name, created_at) values (?, null, ?)", (PROJECT, now))
    connection.execute(
        "insert into api_keys (id, project_id, scopes, secret_hash, created_at) values (?, ?, ?, ?, ?)",
        (key_id, PROJECT, '["*"]', hash_secret(API_KEY), now),
    )
    _finish(connection)


def _open(server: Server, key: str) -> None:
    request = urllib.request.Request(
        f"http://{HOST}:{server.port}/v1/events",
        data=json.dumps({"event_key": key, "timeout_secs": 86_400}).encode(),
        headers={"Authorization": f"Bearer {API_KEY}"},
    )
    urllib.request.urlopen(request, timeout=10).read()


def _insert(path: Path, waits: Iterable[Wait], *, rebuild: bool) -> None:
    connection = sqlite.connect(path, cache_mib=512)
    connection.execute("pragma synchronous = off")
    trigger, fact = _template(connection, "triggers"), _template(connection, "facts")
    indexes = list(
        connection.execute(
            "select name, sql from sqlite_schema where type='index' and tbl_name='triggers' and sql > ''"
        )
    )
    if rebuild:
        for name, _ in indexes:
            connection.execute(f"drop index {name}")
    added = 0
    for chunk in _chunks(_copies(waits, trigger, fact)):
        with connection:
            connection.executemany(_sql("triggers", trigger), (row for row, _ in chunk))
            connection.executemany(
                _sql("facts", fact), (row for _, row in sorted(chunk, key=lambda pair: pair[1]["id"]))
            )
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        added += len(chunk)
    if rebuild:
        for _, sql in indexes:
            connection.execute(sql)
    connection.execute("update counters set waiting = waiting + ? where project_id = ?", (added, PROJECT))
    _finish(connection)


def _template(connection: apsw.Connection, table: str) -> dict[str, Any]:
    cursor = connection.execute(f"select * from {table} where project_id = ? order by id limit 1", (PROJECT,))
    names = [column[0] for column in cursor.get_description()]
    return dict(zip(names, next(cursor), strict=True))


def _copies(
    waits: Iterable[Wait], trigger: dict[str, Any], fact: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for wait in waits:
        entropy = int.from_bytes(hashlib.blake2b(wait.event_key.encode(), digest_size=8).digest(), "big")
        trigger_id = make_id(wait.requested_at, 0, entropy)
        fact_id = make_id(wait.requested_at, 1, entropy)
        row = {
            **trigger,
            "id": trigger_id,
            "event_key": wait.event_key,
            "timeout_secs": max(1, (wait.expires_at - wait.requested_at) // _US),
            "requested_at": wait.requested_at,
            "expires_at": wait.expires_at,
            "last_fact_id": fact_id if trigger["last_fact_id"] else None,
        }
        yield row, {**fact, "id": fact_id, "subject_id": trigger_id, "at": wait.requested_at}


def _sql(table: str, row: dict[str, Any]) -> str:
    return f"insert into {table} ({', '.join(row)}) values ({', '.join(':' + name for name in row)})"


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _finish(connection: apsw.Connection) -> None:
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("base")
    making.add_argument("--rows", type=int, required=True)
    making.add_argument("--out", type=Path, required=True)
    adding = commands.add_parser("add")
    adding.add_argument("database", type=Path)
    adding.add_argument("--count", type=int, required=True)
    adding.add_argument("--prefix", required=True)
    adding.add_argument("--due-at", type=int, default=0)
    adding.add_argument("--per-sec", type=float, default=0)
    adding.add_argument("--scattered", action="store_true")
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if given.command == "base":
        base(given.rows, given.out)
    else:
        add(given.database, given.count, given.prefix, given.due_at, given.per_sec, given.scattered)


if __name__ == "__main__":
    main()
