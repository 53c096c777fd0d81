"""What a send costs in round trips to the database and in statements, as the server itself counts them, and in
bytes of the database's log."""

from __future__ import annotations

import operator
import urllib.request
from dataclasses import astuple, dataclass

from benchmarks.places import HOST
from benchmarks.prepare import API_KEY
from benchmarks.report import figure
from benchmarks.server import Server
from narrows.storage.calls import WRITERS

_BY = f'{{by="{WRITERS}"}}'


@dataclass(frozen=True)
class Counts:
    """Counters of all nodes, or what they rose by."""

    batches: float = 0
    operations: float = 0
    round_trips: float = 0
    statements: float = 0
    log_bytes: float = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, before: Counts) -> Counts:
        return Counts(*map(operator.sub, astuple(self), astuple(before)))

    @property
    def per_batch(self) -> str:
        return f"{figure(self.round_trips / self.batches)} / {figure(self.statements / self.batches)}"

    @property
    def per_operation(self) -> str:
        return f"{figure(self.round_trips / self.operations)} / {figure(self.statements / self.operations)}"


def counted(server: Server) -> Counts:
    """The counters as they stand now."""
    found = Counts(log_bytes=server.copy.log_bytes())
    for port in server.ports:
        values = _metrics(port)
        found += Counts(
            values["narrows_batch_operations_count"],
            values["narrows_batch_operations_sum"],
            values.get(f"narrows_database_calls_total{_BY}", 0),
            values.get(f"narrows_database_statements_total{_BY}", 0),
        )
    return found


def _metrics(port: int) -> dict[str, float]:
    request = urllib.request.Request(
        f"http://{HOST}:{port}/metrics", headers={"Authorization": f"Bearer {API_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        lines = [line for line in reply.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
