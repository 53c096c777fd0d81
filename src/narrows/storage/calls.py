"""How often a node asks its database server, for `/metrics` and the benchmark: what a send costs on a
network is its share of the round trips of its batch."""

from __future__ import annotations

from typing import Final

#: Who asks: writers in their batches, readers, and what nodes say to each other.
WRITERS: Final = "writers"
READERS: Final = "readers"
NODES: Final = "nodes"


class Calls:
    """Counts what went over some connections since the start."""

    def __init__(self) -> None:
        self.round_trips = 0
        self.statements = 0

    def count(self, statements: int = 1) -> None:
        """One round trip with so many statements."""
        self.round_trips += 1
        self.statements += statements


def statements_in(text: str) -> int:
    """How many statements a text of ours has, without parameters and so without semicolons in values."""
    return text.rstrip("; ").count(";") + 1
