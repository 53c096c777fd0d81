"""Makes the databases that are measured, by the fastest honest way: the real server opens one wait,
and that row and its fact are copied with other ids, keys and times until there are enough.

So the rows look as the server writes them, whatever the schema. The two time-ordered trees are filled
in order, as they fill in life; the index of due times at random.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.databases import Copy, Database
from benchmarks.places import HOST
from benchmarks.server import Server
from benchmarks.tables import Tables
from narrows.api.keys import hash_secret, make_key, make_key_id
from narrows.core.ids import make_id

PROJECT = "bench"
#: Fixed, so that a prepared database and its key can be used again. It opens nothing but these files.
API_KEY = make_key(make_key_id(1_700_000_000_000_000, b"benc"), b"0123456789abcdef0123456789abcdef")
US = 1_000_000
_DAY_US = 86_400 * US
_CHUNK = 50_000


class Wait(NamedTuple):
    """What differs from the template."""

    event_key: str
    requested_at: int
    expires_at: int


def waits(database: Database, rows: int) -> str:
    """The name of a prepared database with one project, one key and `rows` waits, `wait:000000000` and so on;
    made once per schema."""
    stem = f"waits_{rows}_"
    name = stem + _version(database)
    if name not in database.prepared():
        forget(database, stem)
        print(f"preparing {rows:,} waits on {database.title} ...", flush=True)
        copy = empty(database)
        with Server(copy) as server:
            _open(server, "template:0")
        with copy.tables() as tables:
            _fill(tables, rows)
        database.keep(copy, name)
    return name


def forget(database: Database, stem: str) -> None:
    """What was prepared under names that begin so is not needed any more."""
    for old in database.prepared():
        if old.startswith(stem):
            database.forget(old)


def empty(database: Database) -> Copy:
    """A database with a project and its API key."""
    copy = database.empty()
    now = time.time_ns() // 1000
    key_id = API_KEY.split("_")[1]
    with copy.tables() as tables:
        tables.insert("projects", [{"id": PROJECT, "name": None, "created_at": now}])
        key = {"id": key_id, "project_id": PROJECT, "scopes": '["*"]', "secret_hash": hash_secret(API_KEY)}
        tables.insert("api_keys", [{**key, "created_at": now}])
    return copy


def add(
    copy: Copy, count: int, prefix: str, *, due_at: int = 0, per_sec: float = 0, scattered: bool = False
) -> None:
    """More waits, due from `due_at` on at `per_sec` (0: all at that instant); `scattered` puts their
    rows at random places among the others instead of at the end, where the database keeps them by id."""
    now = time.time_ns() // 1000
    randomness = random.Random(count)
    gap = int(US / per_sec) if per_sec else 0
    places = [now - randomness.randrange(100 * US) if scattered else now - count + n for n in range(count)]
    added = (
        Wait(f"{prefix}:{number:09}", place, (due_at or now + _DAY_US) + number * gap)
        for number, place in enumerate(places)
    )
    with copy.tables() as tables:
        _insert(tables, added)


def count_more(tables: Tables, table: str, column: str, count: int) -> None:
    """Add to one of the rows that a statistic is the sum of."""
    first = f"(select min(writer) from {table} where project_id = '{PROJECT}')"
    tables.run(
        f"update {table} set {column} = {column} + {count} where project_id = '{PROJECT}' and writer = {first}"
    )


def chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _version(database: Database) -> str:
    """What is prepared anew when the schema or this file has changed."""
    return hashlib.sha256((database.schema + Path(__file__).read_text()).encode()).hexdigest()[:12]


def _open(server: Server, key: str) -> None:
    request = urllib.request.Request(
        f"http://{HOST}:{server.port}/v1/events",
        data=json.dumps({"event_key": key, "timeout_secs": 86_400}).encode(),
        headers={"Authorization": f"Bearer {API_KEY}"},
    )
    urllib.request.urlopen(request, timeout=10).read()


def _fill(tables: Tables, rows: int) -> None:
    now = time.time_ns() // 1000
    start = now - rows * 100 - 10 * US
    randomness = random.Random(rows)
    indexes = tables.indexes("triggers")
    for index in indexes:
        tables.run(f"drop index {index.name}")
    _insert(
        tables,
        (
            Wait(
                f"wait:{number:09}",
                at := start + number * 100,
                at + randomness.randrange(2 * _DAY_US, 30 * _DAY_US),
            )
            for number in range(rows)
        ),
    )
    for index in indexes:
        tables.run(index.sql)
    tables.finish()


def _insert(tables: Tables, added: Iterable[Wait]) -> None:
    trigger, fact = _template(tables, "triggers"), _template(tables, "facts")
    count = 0
    for chunk in chunks(_copies(added, trigger, fact)):
        tables.insert("triggers", [row for row, _ in chunk])
        tables.insert("facts", sorted((row for _, row in chunk), key=lambda row: str(row["id"])))
        count += len(chunk)
    count_more(tables, "counters", "waiting", count)


def _template(tables: Tables, table: str) -> dict[str, Any]:
    return tables.rows(f"select * from {table} where project_id = '{PROJECT}' order by id limit 1")[0]


def _copies(
    added: Iterable[Wait], trigger: dict[str, Any], fact: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for wait in added:
        entropy = int.from_bytes(hashlib.blake2b(wait.event_key.encode(), digest_size=8).digest(), "big")
        trigger_id = make_id(wait.requested_at, 0, entropy)
        fact_id = make_id(wait.requested_at, 1, entropy)
        row = {
            **trigger,
            "id": trigger_id,
            "event_key": wait.event_key,
            "timeout_secs": max(1, (wait.expires_at - wait.requested_at) // US),
            "requested_at": wait.requested_at,
            "expires_at": wait.expires_at,
            "last_fact_id": fact_id if trigger["last_fact_id"] else None,
        }
        yield row, {**fact, "id": fact_id, "subject_id": trigger_id, "at": wait.requested_at}
