"""A database for the tests of the reads: rows put in by hand, a clock that stands still. Not an oracle."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from narrows.core.ids import make_id
from narrows.core.records import NEVER, Fact, HeldEvent, Trigger, UnmatchedEvent
from narrows.core.states import HeldStatus
from narrows.core.triggers import new_wait
from narrows.storage import sqlite
from narrows.storage.backend import Row, run_now
from narrows.storage.front import Read
from narrows.storage.statements import for_sqlite
from narrows.testing import ManualClock

T = TypeVar("T")
NOW = 1_795_466_444_000_000
SECOND = 1_000_000


class StrictReader(sqlite.SqliteConnection):
    """The real connection; a parameter that is not given is an error instead of null, and so is a
    statement that reads much more than it should."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection, ManualClock(NOW))
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def rows(self, statement: str, **parameters: Any) -> list[Row]:
        wanted = set(re.findall(r":(\w+)", for_sqlite()[statement]))
        assert wanted <= parameters.keys(), f"{statement} lacks {wanted - parameters.keys()}"
        self.asked.append((statement, parameters))
        return await super().rows(statement, **parameters)


class Reads:
    """The database, and what reads find in it."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite.connect(path)
        self.connection.execute("pragma synchronous = off")
        sqlite.migrate(self.connection, NOW)
        self.reader = StrictReader(self.connection)
        self._count = 0

    def read(self, read: Read[T]) -> T:
        return run_now(read.run(self.reader))

    def new_id(self, at: int) -> str:
        self._count += 1
        return make_id(at, self._count, 7)

    def insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        rows = list(rows)
        if rows:
            # A table may end with columns that no record has.
            columns = [row[1] for row in self.connection.execute(f"pragma table_info({table})")]
            named, marks = ", ".join(columns[: len(rows[0])]), ", ".join("?" * len(rows[0]))
            with self.connection:
                self.connection.executemany(f"insert into {table} ({named}) values ({marks})", rows)

    def trigger(self, event_key: str, at: int = NOW, **changes: Any) -> Trigger:
        """Put one trigger in; `at` is when it was requested."""
        wait = make_trigger(self.new_id(at), event_key, at, **changes)
        self.insert("triggers", [wait])
        return wait

    def unmatched(
        self, event_key: str, at: int = NOW, reason: str = "no_wait", **more: Any
    ) -> UnmatchedEvent:
        event = UnmatchedEvent("p", self.new_id(at), event_key, reason, None, None, None, "dev", at)
        event = event._replace(**more)
        self.insert("unmatched_events", [event])
        return event

    def held(self, event_key: str, at: int = NOW, **more: Any) -> HeldEvent:
        held_until = at + 3600 * SECOND
        event = HeldEvent(
            "p", self.new_id(at), event_key, None, HeldStatus.HELD, "1", None, at, held_until, None, "dev"
        )
        event = event._replace(**more)
        self.insert("held_events", [event])
        return event

    def fact(self, kind: str, subject_id: str, previous_id: str | None, at: int = NOW) -> Fact:
        fact = Fact("p", self.new_id(at), kind, subject_id, None, previous_id, "dev", 1, at, None)
        self.insert("facts", [fact])
        return fact

    def plan(self, statement: str, **parameters: Any) -> list[str]:
        """How SQLite would run a statement, line by line."""
        sql = for_sqlite()[statement]
        given = dict.fromkeys(re.findall(r":(\w+)", sql), "x") | parameters
        return [row[3] for row in self.connection.execute(f"explain query plan {sql}", given)]


def make_trigger(trigger_id: str, event_key: str, at: int = NOW, **changes: Any) -> Trigger:
    wait = new_wait(
        project_id="p",
        trigger_id=trigger_id,
        event_key=event_key,
        ordinal=changes.pop("ordinal", 1),
        timeout_secs=3600,
        now=at,
        opened_by="dev",
    )
    status = changes.get("status", "waiting")
    if status != "waiting":
        changes.setdefault("settled_at", at + SECOND)
    if status == "received":
        changes.setdefault("received_at", changes["settled_at"])
    if changes.get("timeout_secs") == 0:
        changes.setdefault("expires_at", NEVER)
    return wait._replace(**changes)
