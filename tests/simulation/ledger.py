"""The ledger of a writer: what was executed in one commit, in its order, what came of it, and what the clock settled
when it was loaded. What the model is told, from whatever store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from narrows.core.states import FactKind
from narrows.storage.lookups import Touch
from narrows.storage.queued import Ticket
from narrows.storage.transaction import Transaction
from narrows.storage.writer import Result, Writer

_SETTLED_BY_THE_CLOCK = (FactKind.TRIGGER_TIMED_OUT, FactKind.TRIGGER_RECEIVED)
AT_THE_END = 1_000_000


class InATurn(NamedTuple):
    """What was over its time, a trigger or a workflow run, when a turn loaded it: in its first round or a later one.
    The turn is that before the operation of this place, or (AT_THE_END) that after all of them."""

    place: int
    turn_round: int
    id: str


class CameDue(NamedTuple):
    """What the clock settled when a batch was loaded, before any of its operations: triggers, and workflow runs; and
    what it settled in its turns."""

    trigger_ids: Sequence[str] = ()
    workflow_run_ids: Sequence[str] = ()
    in_a_turn: Sequence[InATurn] = ()


#: Is told of operations that were executed together, and what came of them.
Ledger = Callable[[Sequence[Ticket], Result, CameDue], None]


class LedgerWriter(Writer):
    """The writer, with a ledger of each commit at its very moment: a batch that fails as a whole is run one
    operation at a time, and the server may die between two of these commits."""

    executed: Ledger
    _came_due = CameDue()
    _told: Any = None
    _place = AT_THE_END
    _round = 0

    @classmethod
    def watch(cls, writer: Writer, executed: Ledger) -> None:
        """Let a writer that there is keep a ledger."""
        writer.__class__ = cls
        writer.executed = executed  # type: ignore[attr-defined]

    async def _attempt(self, connection: Any, batch: Sequence[Ticket], **options: Any) -> Result:
        self._came_due = CameDue()
        result = await super()._attempt(connection, batch, **options)
        # Where some must be asked first, the others were committed by an attempt within this one.
        if result.committed is None or result.committed is not self._told:
            self._told = result.committed
            self.executed(batch, result, self._came_due)
        return result

    async def _apply_behind_a_turn(self, connection: Any, tx: Transaction, place: int, operation: Any) -> Any:
        self._place = place
        try:
            return await super()._apply_behind_a_turn(connection, tx, place, operation)
        finally:
            self._place = AT_THE_END

    async def _turn(self, connection: Any, tx: Transaction) -> None:
        self._round, take = 0, tx.notes.take

        def counted() -> Any:
            self._round += 1
            return take()

        tx.notes.take = counted  # type: ignore[method-assign]
        try:
            await super()._turn(connection, tx)
        finally:
            tx.notes.take = take  # type: ignore[method-assign]

    async def _load(self, connection: Any, tx: Transaction, touches: Sequence[Touch]) -> None:
        facts, overdue = len(tx.facts), set(tx._overdue)
        await super()._load(connection, tx, touches)
        settled = [fact.subject_id for fact in tx.facts[facts:] if fact.kind in _SETTLED_BY_THE_CLOCK]
        over = sorted(run_id for _, run_id in tx._overdue - overdue)
        before, runs, in_a_turn = self._came_due
        if tx.notes.acting is None:
            self._came_due = CameDue([*before, *settled], [*runs, *over], in_a_turn)
        else:
            found = [InATurn(self._place, self._round, each) for each in (*settled, *over)]
            self._came_due = CameDue(before, runs, [*in_a_turn, *found])
