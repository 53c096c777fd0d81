"""The role that consumes messages between roots: events that steps emit, the start, the end and the cancel of
sub-workflows, and the cancel of a deleted job's runs.

It is woken by the commit that wrote the message; each is one commit, so that a chain goes on at once, a hop a
commit. That of a deleted job takes many, of at most 500 runs: how far it has come stands in the message's
row, written with what was done, so that after a crash it goes on from there and nothing is done twice; in
memory it keeps only how far it has looked without finding any.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from narrows.core.ids import first_id_at
from narrows.core.run_records import Message
from narrows.core.states import MessageKind
from narrows.engine.loop import Role, earliest_due
from narrows.errors import InternalError, LimitReached, NotFound, Refusal, TooMuchFollows
from narrows.operations.messages import (
    BY_MESSAGE_ALONE,
    CHUNK,
    CancelRunsOfJob,
    EmitEvent,
    StartSubWorkflow,
)
from narrows.operations.reads import LiveRunsOfJob, PendingMessages
from narrows.operations.reads.workflows import GetWorkflow
from narrows.operations.workflow_runs import Superseded

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

log = logging.getLogger("narrows.engine")

#: An event that cannot be held yet is sent again after this.
POSTPONE_US: Final = 10_000_000
#: A message that cannot be consumed is tried again after this.
SET_ASIDE_US: Final = 60_000_000
#: Messages that are worked on side by side, a step of each in turn, so that a large one delays no other.
MESSAGES_A_ROUND: Final = 64
#: By so much one node's stamps may be ahead of another's: after a failover to a clock that is behind.
STAMPS_AHEAD_US: Final = 60_000_000


class ConsumeMessagesRole(Role):
    """Does what messages ask for, at once."""

    name = "consume messages"

    def __init__(self, service: Service) -> None:
        self.canceled = 0
        self._service = service
        self._looked_to: dict[str, str] = {}
        self._postponed: dict[str, int] = {}

    def wakes(self, committed: Committed) -> int | None:
        return earliest_due((message.created_at for message in committed.messages), committed, "messages")

    async def round(self) -> int | None:
        now, members = self._service.clock.now(), self._service.members
        self._postponed = {key: at for key, at in self._postponed.items() if at > now}
        # What has to wait stands in nobody's way, however much of it there is: nor is it read each time.
        pending = PendingMessages(MESSAGES_A_ROUND, tuple(self._postponed))
        messages: list[Message] = await self._service.read(pending)
        # A message's time is a stamp, which may be ahead of the clock: one's own does not wait for that.
        ready = [
            (message.created_at + grace_us if (grace_us := members.grace_us(message.id)) else now, message)
            for message in messages
        ]
        steps = [self._consume(message) for ready_at, message in ready if ready_at <= now]
        # Side by side, so that they share commits; one that fails keeps no other from being consumed.
        ends = await asyncio.gather(*steps, return_exceptions=True)
        if failures := [end for end in ends if isinstance(end, BaseException)]:
            raise failures[0]
        left = [max(ready_at, now) for ready_at, _ in ready]
        return min([*left, *self._postponed.values()], default=None)

    async def _consume(self, message: Message) -> None:
        """A step of it; one that cannot be consumed (a fault of ours) is set aside."""
        try:
            await self._step(message)
        except InternalError as error:
            log.error("the message %s cannot be consumed and is tried again later: %s", message.id, error)
            self._postponed[message.id] = self._service.clock.now() + SET_ASIDE_US

    async def _step(self, message: Message) -> None:
        """One commit, or one look that finds nothing yet."""
        if message.kind == MessageKind.CANCEL_RUNS_OF_JOB:
            await self._cancel_runs(message)
        elif message.kind == MessageKind.START_WORKFLOW_RUN:
            await self._start_workflow_run(message)
        elif message.kind == MessageKind.EMIT_EVENT:
            await self._emit(message)
        else:
            await self._service.perform(
                BY_MESSAGE_ALONE[message.kind](message=message, entropy=self._service.entropy())
            )

    async def _start_workflow_run(self, message: Message) -> None:
        """The definition is read before, since it may be large; where another came meanwhile, again."""
        slug = json.loads(message.body or "{}")["workflow_slug"]
        while True:
            workflow, definition = None, None
            try:
                workflow, version = await self._service.read(
                    GetWorkflow(project_id=message.project_id, workflow=slug)
                )
                definition = await self._service.definition(version)
            except NotFound:
                log.info("a step asks for the workflow %r, which is not there", slug)
            operation = StartSubWorkflow(
                message=message, workflow=workflow, definition=definition, entropy=self._service.entropy()
            )
            with contextlib.suppress(Superseded):
                await self._service.perform(operation)
                return

    async def _emit(self, message: Message) -> None:
        operation = EmitEvent(message=message, entropy=self._service.entropy())
        try:
            refusal: Refusal | None = await self._service.perform(operation)
        except LimitReached as full:
            # Others need not wait for it.
            log.warning("the event of the message %s is not held yet: %s", message.id, full)
            self._postponed[message.id] = self._service.clock.now() + POSTPONE_US
            return
        if refusal is not None:
            log.warning("the event of the message %s was taken by nobody: %s", message.id, refusal)

    async def _cancel_runs(self, message: Message) -> None:
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
        operation = CancelRunsOfJob(
            message=message, run_ids=ids, cursor=last_id, entropy=self._service.entropy()
        )
        while True:
            try:
                self.canceled += await self._service.perform(operation)
                break
            except TooMuchFollows:
                if len(ids) < 2:
                    raise
                # In the workflow runs that they belong to: half of them now.
                ids = ids[: len(ids) // 2]
                operation = replace(operation, run_ids=ids, cursor=ids[-1])
        self._looked_to.pop(message.id, None)
