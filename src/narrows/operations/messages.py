"""Messages between roots: what one commit asks of others, consumed exactly once by those that follow. A
message that takes many commits keeps in its row how far it has come. Not here: who drives them
(`engine/consume.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from narrows.core import runs as rules
from narrows.core.run_records import Message
from narrows.operations.base import ENGINE
from narrows.operations.jobs import live_runs
from narrows.operations.waits import cancel_run, run_touches
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction

#: Runs in one commit.
CHUNK: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumeMessage:
    """One step of a `cancel_runs_of_job` message: cancel those of `run_ids` that live still, and go on
    after `cursor`; None says that there is nothing beyond. The message goes with the last live run.

    `message` is as it was read: where it has gone on meanwhile, this step is a repeat and does nothing.
    Answers how many runs were canceled.
    """

    background: ClassVar[bool] = True

    message: Message
    run_ids: tuple[str, ...]
    cursor: str | None
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        project_id = self.message.project_id
        return [
            ("messages_by_id", project_id, self.message.id),
            ("run_counters_by_job", project_id, self.message.subject_id),
            *(touch for run_id in self.run_ids for touch in run_touches(project_id, run_id)),
        ]

    def apply(self, tx: Transaction) -> int:
        message = tx.message(self.message.project_id, self.message.id)
        if message is None or message.cursor != self.message.cursor:
            return 0
        canceled = sum(self._cancel(tx, run_id) for run_id in self.run_ids)
        if self.cursor is None or not live_runs(tx, message.project_id, message.subject_id):
            tx.delete(message)
        else:
            tx.save(message._replace(cursor=self.cursor))
        return canceled

    def _cancel(self, tx: Transaction, run_id: str) -> bool:
        run = tx.run(self.message.project_id, run_id)
        if run is None or run.job_id != self.message.subject_id or rules.has_ended(run):
            return False
        cancel_run(tx, run, rules.JOB_DELETED, ENGINE.label, self.entropy)
        return True
