"""The role that consumes messages between roots: today the one that cancels the runs of a deleted job.

It is woken by the commit that wrote the message, and works in commits of at most 500 runs. How far it
has come stands in the message's row, written with what was done, so that after a crash it goes on from
there and nothing is done twice; in memory it keeps only how far it has looked without finding any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from narrows.core.ids import first_id_at
from narrows.core.run_records import Message
from narrows.engine.loop import Role, earliest_due
from narrows.operations.messages import CHUNK, ConsumeMessage
from narrows.operations.reads import LiveRunsOfJob, PendingMessages

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

#: Messages that are worked on side by side, a step of each in turn, so that a large one delays no other.
MESSAGES_A_ROUND: Final = 20
#: By so much one node's stamps may be ahead of another's: after a failover to a clock that is behind.
STAMPS_AHEAD_US: Final = 60_000_000


class ConsumeMessagesRole(Role):
    """Does what messages ask for, at once."""

    name = "consume messages"

    def __init__(self, service: Service) -> None:
        self.canceled = 0
        self._service = service
        self._looked_to: dict[str, str] = {}

    def wakes(self, committed: Committed) -> int | None:
        return earliest_due((message.created_at for message in committed.messages), committed, "messages")

    async def round(self) -> int | None:
        messages: list[Message] = await self._service.read(PendingMessages(MESSAGES_A_ROUND))
        now, members = self._service.clock.now(), self._service.members
        # A message's time is a stamp, which may be ahead of the clock: one's own does not wait for that.
        ready = [
            (message.created_at + grace_us if (grace_us := members.grace_us(message.id)) else now, message)
            for message in messages
        ]
        for ready_at, message in ready:
            if ready_at <= now:
                await self._step(message)
        return min((max(ready_at, now) for ready_at, _ in ready), default=None)

    async def _step(self, message: Message) -> None:
        """One look, and one commit if it found something or the end. Runs that were made after the message are
        of no job that it could mean: a deleted job gets no more. (Another node's stamps may be ahead.)"""
        before_id = message.id
        if not self._service.members.is_alone:
            before_id = first_id_at(message.created_at + STAMPS_AHEAD_US)
        ids, last_id = await self._service.read(
            LiveRunsOfJob(
                message.project_id,
                message.subject_id,
                self._looked_to.get(message.id) or message.cursor or "",
                before_id,
                CHUNK,
            )
        )
        if not ids and last_id is not None:
            self._looked_to[message.id] = last_id
            return
        operation = ConsumeMessage(
            message=message, run_ids=ids, cursor=last_id, entropy=self._service.entropy()
        )
        self.canceled += await self._service.perform(operation)
        self._looked_to.pop(message.id, None)
