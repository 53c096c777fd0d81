"""An operation that does whatever a test says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An operation that does what a test says."""

    does: Any = lambda tx: None
    background: bool = False
    size_bytes: int = 0
    touched: tuple[Touch, ...] = ()

    def touches(self) -> tuple[Touch, ...]:
        return self.touched

    def apply(self, tx: Transaction) -> Any:
        return self.does(tx)
