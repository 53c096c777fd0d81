"""The service: what the API, the engine's roles and a program in the same process talk to.

It performs operations and reads on a store, works out what an operation asks for outside the
writer, and drives the two operations that take many commits (prefix send and purge).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from narrows.clock import Clock
from narrows.core.ids import make_id
from narrows.core.records import Trigger, UnmatchedEvent
from narrows.errors import Conflict, NotFound, Refusal, Unavailable
from narrows.operations.answers import Schemas, payloads_equal
from narrows.operations.base import Question, Undelivered
from narrows.operations.events import SendBatch, SendEvent
from narrows.operations.idempotency import Idempotent, is_kept
from narrows.operations.prefix import (
    CHUNK,
    IN_PROGRESS,
    MAX_LISTED,
    PrefixOutcome,
    Progress,
    SendPrefix,
    SendPrefixChunk,
)
from narrows.operations.purge import CHUNK as PURGE_CHUNK
from narrows.operations.purge import DeleteRows, DeleteTriggers, Purge, PurgeOutcome
from narrows.operations.reads import (
    CountSettled,
    GetTriggerById,
    ListApiKeys,
    LoadSchema,
    OldRows,
    SettledTriggers,
    WaitingUnderPrefix,
)
from narrows.operations.reads.internal import GetIdempotencyRecord, LoadHeldPayload, PrunableTriggers
from narrows.operations.retention import PruneRows, PruneTriggers
from narrows.storage.writer import Undecided

log = logging.getLogger("narrows.service")
T = TypeVar("T")

#: An operation that is asked again and again because what it depends on changes is given up.
MAX_ROUNDS = 8
DAY_US = 86_400 * 1_000_000


class UnmatchedSink(Protocol):
    """Takes what arrived and settled nothing; must not block, and may drop."""

    def add(self, event: UnmatchedEvent) -> None: ...


class NoSink:
    """Forgets them: for a service without an engine."""

    def add(self, event: UnmatchedEvent) -> None:
        return None


class Service:
    """One per process: a store, the feed of its commits, and where unmatched events go."""

    def __init__(
        self,
        store: Any,
        feed: Any,
        clock: Clock,
        unmatched: Any = None,
    ) -> None:
        self.store = store
        self.feed = feed
        self.clock = clock
        self.unmatched: Any = NoSink() if unmatched is None else unmatched
        self._schemas = Schemas()
        self._running: set[asyncio.Task[Any]] = set()
        self._prefix_sends: set[str] = set()

    def entropy(self) -> int:
        """64 random bits for the ids that an operation makes."""
        return int.from_bytes(self.clock.random_bytes(8), "big")

    async def read(self, read: Any) -> Any:
        """The answer to a read. Raises what the read refuses with (NotFound, InvalidRequest)."""
        return await self.store.read(read)

    async def perform(self, operation: Any) -> Any:
        """The outcome of an operation, after its commit. Raises its refusal; Unavailable means not
        done, OutcomeUnknown that nobody can tell."""
        try:
            outcome = await self._decide(operation)
        except Refusal as refusal:
            self._note_undelivered(operation, [(0, refusal)])
            raise
        if isinstance(_inner(operation), SendBatch):
            refused = [(at, item) for at, item in enumerate(outcome) if isinstance(item, Refusal)]
            self._note_undelivered(operation, refused)
        return outcome

    async def has_api_keys(self) -> bool:
        """Whether anybody could use this server by an API key."""
        page = await self.read(ListApiKeys(project_id=None, limit=100, cursor=None))
        return any(key.revoked_at is None for key in page.items)

    async def prune(self, what: PruneTriggers | PruneRows) -> int:
        """One small commit of retention; 0 when nothing is left that is old enough."""
        return await (
            self._prune_triggers(what) if isinstance(what, PruneTriggers) else self._prune_rows(what)
        )

    async def _prune_triggers(self, prune: PruneTriggers) -> int:
        ids = await self.read(PrunableTriggers(settled_before=prune.before, limit=prune.limit))
        if not ids:
            return 0
        operation = DeleteTriggers(ids=tuple(ids), settled_before=prune.before, entropy=prune.entropy)
        deleted: int = await self._decide(operation)
        return deleted

    async def _prune_rows(self, prune: PruneRows) -> int:
        keys = await self.read(OldRows(table=prune.table, before=prune.before, limit=prune.limit))
        if not keys:
            return 0
        operation = DeleteRows(table=prune.table, keys=tuple(map(tuple, keys)), before=prune.before)
        deleted: int = await self._decide(operation)
        return deleted

    async def _decide(self, operation: Any) -> Any:
        """Ask the store, answer its questions, ask again: the answers hold what they were worked out
        from, so that a change in between only means another round."""
        for _ in range(MAX_ROUNDS):
            try:
                return await self.store.perform(operation)
            except Undecided as undecided:
                operation = operation.answered(await self._answers(undecided.questions))
        raise Unavailable("What this send depends on keeps changing. Send again.", retry_after_secs=1)

    async def _answers(self, questions: Sequence[Question]) -> dict[Question, Any]:
        return {question: await self._answer(question) for question in questions}

    async def _answer(self, question: Question) -> Any:
        if question.kind == "schema":
            schema = await self.read(LoadSchema(project_id=question.project_id, payload_id=question.subject))
            return await asyncio.to_thread(self._schemas.faults, schema, question.text)
        if question.kind == "fits":
            held = LoadHeldPayload(project_id=question.project_id, held_id=question.subject)
            payload = await self.read(held)
            return await asyncio.to_thread(self._schemas.faults, question.text or "true", payload)
        trigger = await self.read(GetTriggerById(project_id=question.project_id, trigger_id=question.subject))
        return await asyncio.to_thread(payloads_equal, trigger.response_payload, question.text)

    def _note_undelivered(self, operation: Any, refusals: Sequence[tuple[int, Refusal]]) -> None:
        """Remember events that settled nothing, for `explain`; their refusals say why."""
        inner = _inner(operation)
        for position, refusal in refusals:
            cause = refusal.__cause__
            if not isinstance(cause, Undelivered) or not isinstance(inner, SendEvent | SendBatch):
                continue
            event_key = inner.event_key if isinstance(inner, SendEvent) else inner.events[position].event_key
            if event_key is None:
                continue
            now = self.clock.now()
            self.unmatched.add(
                UnmatchedEvent(
                    project_id=inner.project_id,
                    id=make_id(now, 0, self.entropy()),
                    event_key=event_key,
                    reason=cause.reason,
                    trigger_id=cause.trigger_id,
                    late_us=cause.late_us,
                    detail="; ".join(refusal.details)[:500] or None,
                    sent_by=inner.actor.label,
                    arrived_at=now,
                )
            )

    # ---- many commits ----------------------------------------------------------------------

    async def send_prefix(self, request: SendPrefix) -> PrefixOutcome:
        """Settle all that waits under a prefix; goes on to its end also when the caller has gone."""
        return await self._to_the_end(self._send_prefix(request))

    async def purge(self, request: Purge) -> PurgeOutcome:
        """Delete a project's old settled triggers, in bounded commits; goes on to its end."""
        return await self._to_the_end(self._purge(request))

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a prefix send or purge ended early: %s", error)

    async def close(self) -> None:
        """Stop prefix sends and purges between two commits."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _send_prefix(self, request: SendPrefix) -> PrefixOutcome:
        scope = request.scope_hash
        if scope is not None:
            if scope in self._prefix_sends:
                raise Conflict(
                    "The request with this Idempotency-Key is still running. Ask again in a moment.",
                    retry_after_secs=1,
                )
            self._prefix_sends.add(scope)
        try:
            return await self._drive_prefix(request)
        finally:
            if scope is not None:
                self._prefix_sends.discard(scope)

    async def _drive_prefix(self, request: SendPrefix) -> PrefixOutcome:
        progress = await self._earlier_progress(request)
        if isinstance(progress, PrefixOutcome):
            return progress
        read = WaitingUnderPrefix(project_id=request.project_id, prefix=request.prefix)
        ids: list[str] = await self.read(read)
        if request.dry_run:
            return PrefixOutcome(len(ids), 0, (), False, True)
        if progress.until_id:
            ids = [id for id in ids if progress.last_id < id <= progress.until_id]
        elif ids:
            progress = progress._replace(until_id=ids[-1])
        return await self._run_chunks(request, ids, progress)

    async def _run_chunks(self, request: SendPrefix, ids: list[str], progress: Progress) -> PrefixOutcome:
        listed = await self._listed(request.project_id, progress.first_ids)
        for start in range(0, max(1, len(ids)), CHUNK):
            chunk = SendPrefixChunk(
                actor=request.actor,
                project_id=request.project_id,
                entropy=self.entropy(),
                ids=tuple(ids[start : start + CHUNK]),
                payload=request.payload,
                progress=progress,
                done=start + CHUNK >= len(ids),
                scope_hash=request.scope_hash,
                body_hash=request.body_hash,
            )
            outcome = await self._decide(chunk)
            progress = outcome.progress
            listed += outcome.settled[: MAX_LISTED - len(listed)]
        return _prefix_outcome(progress, listed, replayed=False)

    async def _earlier_progress(self, request: SendPrefix) -> Progress | PrefixOutcome:
        """Where an earlier request with the same Idempotency-Key came to."""
        if request.scope_hash is None or request.dry_run:
            return Progress()
        record = await self.read(GetIdempotencyRecord(scope_hash=request.scope_hash))
        if record is None or not is_kept(record, self.clock.now()):
            return Progress()
        if record.body_hash != request.body_hash:
            raise Conflict("This Idempotency-Key was used with another body. Take a new key.")
        progress = Progress.from_json(record.reply or "{}")
        if record.status == IN_PROGRESS:
            return progress
        listed = await self._listed(request.project_id, progress.first_ids)
        return _prefix_outcome(progress, listed, replayed=True)

    async def _listed(self, project_id: str, ids: Sequence[str]) -> list[Trigger]:
        listed = []
        for trigger_id in ids:
            try:
                listed.append(await self.read(GetTriggerById(project_id=project_id, trigger_id=trigger_id)))
            except NotFound:
                continue  # purged since; the count stays what was committed
        return listed

    async def _purge(self, request: Purge) -> PurgeOutcome:
        before = self.clock.now() - request.older_than_days * DAY_US
        if request.dry_run:
            count = await self.read(CountSettled(project_id=request.project_id, settled_before=before))
            return PurgeOutcome(0, count, True)
        deleted, after_id = 0, ""
        while True:
            read = SettledTriggers(
                project_id=request.project_id, settled_before=before, after_id=after_id, limit=PURGE_CHUNK
            )
            ids, last_id = await self.read(read)
            if ids:
                deleted += await self._decide(
                    DeleteTriggers(
                        ids=tuple((request.project_id, trigger_id) for trigger_id in ids),
                        settled_before=before,
                        entropy=self.entropy(),
                        actor=request.actor,
                    )
                )
            if last_id is None:
                return PurgeOutcome(deleted, 0, False)
            after_id = last_id


def _inner(operation: Any) -> Any:
    return operation.operation if isinstance(operation, Idempotent) else operation


def _prefix_outcome(progress: Progress, listed: Sequence[Trigger], replayed: bool) -> PrefixOutcome:
    return PrefixOutcome(
        resolved=progress.resolved,
        refused=progress.refused,
        triggers=tuple(listed),
        truncated=progress.resolved > len(progress.first_ids),
        dry_run=False,
        replayed=replayed,
    )
