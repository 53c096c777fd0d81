"""An operation of the tests: save records as they are, such as the waits of runs, which nothing makes yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from narrows.core import triggers as rules
from narrows.core.records import Trigger
from narrows.core.states import FactKind
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction
from tests.storage.kit import PROJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRecords:
    """Save `records`, and answer the last of them; or open the wait that `fields` describe."""

    background: ClassVar[bool] = False

    records: tuple[Any, ...] = ()
    event_key: str | None = None
    timeout_secs: int = 60
    fields: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def wait(cls, event_key: str, timeout_secs: int = 60, **fields: Any) -> SaveRecords:
        return cls(event_key=event_key, timeout_secs=timeout_secs, fields=tuple(fields.items()))

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return []

    def apply(self, tx: Transaction) -> Any:
        for record in self.records:
            tx.save(record)
        return self._open(tx) if self.event_key is not None else self.records[-1]

    def _open(self, tx: Transaction) -> Trigger:
        assert self.event_key is not None
        trigger = rules.new_wait(
            project_id=PROJECT,
            trigger_id=tx.new_id(1),
            event_key=self.event_key,
            ordinal=1,
            timeout_secs=self.timeout_secs,
            now=tx.now,
            opened_by="test",
        )
        trigger = trigger._replace(**dict(self.fields))
        return tx.advance(trigger, FactKind.TRIGGER_OPENED, "test", 1)
