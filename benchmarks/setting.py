"""What all measurements share: the database, the keys, how often and how long."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.databases import Database
from benchmarks.report import Row, Spread, Table, figure
from benchmarks.server import Server

WARM_KEYS = 40_000
T = TypeVar("T")


class Keys(NamedTuple):
    """Files of the keys that wait, shuffled and in the order of their insert."""

    shuffled: Path
    ordered: Path


class Setting(NamedTuple):
    """What all measurements share. `rows` waits are in the prepared database `big`, 50,000 in `small`, and none
    in `empty`; `nodes` serve a copy of one."""

    table: Table
    database: Database
    nodes: int
    rows: int
    big: str
    small: str
    empty: str
    keys: Keys
    few_keys: Keys
    runs: int
    secs: int

    @property
    def place(self) -> str:
        """Where it was measured, as the table says it."""
        return self.database.title if self.nodes == 1 else f"{self.database.title}, {self.nodes} nodes"

    def server(
        self, prepared: str, *, one_per_commit: bool = False, plain: bool = False, allow: str = ""
    ) -> Server:
        """A server on a fresh copy, not yet started."""
        return Server(
            self.database.fresh(prepared),
            nodes=self.nodes,
            one_per_commit=one_per_commit,
            plain=plain,
            allow=allow,
        )

    def of(self, embedded: T, shared: T) -> T:
        """Of two targets that of this database."""
        return shared if self.database.is_shared else embedded

    def add(self, what: str, target: str, measured: str, met: bool | None = None, note: str = "") -> None:
        """A row of the table. There are no targets for several nodes."""
        if self.nodes > 1:
            target, met = "", None
        self.table.add(Row(what, self.place, target, measured, met if target else None, note))

    def against_one_node(self, what: str, value: float) -> str:
        """For the note: how the figure of several nodes is to that of one."""
        self.table.figures[what, self.place] = value
        one = self.table.figures.get((what, self.database.title))
        return f"{figure(value / one)} times one node; " if self.nodes > 1 and one else ""


def spread(values: list[float]) -> Spread:
    return Spread(tuple(values))
