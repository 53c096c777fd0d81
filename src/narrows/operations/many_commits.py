"""Requests that take many commits: a prefix send and a purge. Each goes on to its end when the client
has gone; with an Idempotency-Key how far it has come stands in each commit, and a retry goes on from
there and answers the total. Not here: what one commit does (`prefix.py`, `purge.py`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from narrows.core.records import IdempotencyRecord
from narrows.errors import Conflict, OutcomeUnknown, Refusal, TooMuchFollows
from narrows.operations.idempotency import IN_PROGRESS, IdempotentStep, is_kept
from narrows.operations.prefix import CHUNK, PrefixOutcome, Progress, SendPrefix, SendPrefixChunk
from narrows.operations.purge import CHUNK as PURGE_CHUNK
from narrows.operations.purge import DeleteTriggers, Purge, PurgeOutcome, PurgeProgress
from narrows.operations.reads import CountSettled, SettledTriggers, WaitGroupsOf, WaitingUnderPrefix
from narrows.operations.reads.internal import FirstTriggers, GetIdempotencyRecord

if TYPE_CHECKING:
    from narrows.operations.service import Service

log = logging.getLogger("narrows.service")
T = TypeVar("T")

DAY_US = 86_400 * 1_000_000


class ManyCommits:
    """Drives them, for one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._running: set[asyncio.Task[Any]] = set()
        self._scopes: set[str] = set()

    async def send_prefix(self, request: SendPrefix) -> PrefixOutcome:
        return await self._to_the_end(self._once_at_a_time(request.scope_hash, self._send_prefix(request)))

    async def purge(self, request: Purge) -> PurgeOutcome:
        return await self._to_the_end(self._once_at_a_time(request.scope_hash, self._purge(request)))

    async def close(self) -> None:
        """Stop all between two commits."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a prefix send or purge ended early: %s", error)

    async def _once_at_a_time(self, scope_hash: str | None, work: Coroutine[Any, Any, T]) -> T:
        if scope_hash is None:
            return await work
        if scope_hash in self._scopes:
            work.close()
            raise Conflict(
                "The request with this Idempotency-Key is still running. Ask again in a moment.",
                retry_after_secs=1,
            )
        self._scopes.add(scope_hash)
        try:
            return await work
        finally:
            self._scopes.discard(scope_hash)

    async def _earlier(self, request: SendPrefix | Purge) -> IdempotencyRecord | None:
        """What an earlier request with the same Idempotency-Key has left."""
        if request.scope_hash is None:
            return None
        record: IdempotencyRecord | None = await self._service.read(
            GetIdempotencyRecord(scope_hash=request.scope_hash)
        )
        if record is None or not is_kept(record, self._service.clock.now()):
            return None
        if record.body_hash != request.body_hash:
            raise Conflict("This Idempotency-Key was used with another body. Take a new key.")
        return record

    async def _commit(self, operation: Any, done: int) -> Any:
        """One commit. Once something is done, no refusal (a full disk, a key revoked meanwhile) would be
        a true word for the whole: a refusal has changed nothing."""
        try:
            return await self._service.decide(operation)
        except Refusal as refusal:
            if not done or isinstance(refusal, TooMuchFollows):
                raise
            raise OutcomeUnknown(
                f"{done} triggers were done, the rest was not: {refusal.message} Send again to go on."
            ) from refusal

    # ---- prefix sends ----------------------------------------------------------------------

    async def _send_prefix(self, request: SendPrefix) -> PrefixOutcome:
        record = await self._earlier(request)
        progress = Progress() if record is None else Progress.from_json(record.reply or "{}")
        if record is not None and record.status != IN_PROGRESS:
            return await self._prefix_outcome(request, progress, replayed=True)
        read = WaitingUnderPrefix(project_id=request.project_id, prefix=request.prefix)
        ids: list[str] = await self._service.read(read)
        if request.dry_run:
            return PrefixOutcome(len(ids), 0, (), False, True)
        if progress.until_id:
            ids = [id for id in ids if progress.last_id < id <= progress.until_id]
        elif ids:
            progress = progress._replace(until_id=ids[-1])
        start, size, done = 0, CHUNK, False
        while not done:
            done = start + size >= len(ids)
            chunk = self._prefix_chunk(request, tuple(ids[start : start + size]), progress, done)
            try:
                progress = (await self._commit(chunk, progress.resolved)).progress
            except TooMuchFollows:
                if size == 1:
                    raise
                size, done = size // 2, False
            else:
                start += size
        return await self._prefix_outcome(request, progress, replayed=False)

    def _prefix_chunk(
        self, request: SendPrefix, ids: tuple[str, ...], progress: Progress, done: bool
    ) -> SendPrefixChunk:
        return SendPrefixChunk(
            actor=request.actor,
            project_id=request.project_id,
            entropy=self._service.entropy(),
            ids=ids,
            payload=request.payload,
            progress=progress,
            done=done,
            scope_hash=request.scope_hash,
            body_hash=request.body_hash,
        )

    async def _prefix_outcome(self, request: SendPrefix, progress: Progress, replayed: bool) -> PrefixOutcome:
        """The count is what was committed; the list ends at 1,000, at the size of a page, and without
        what was purged since."""
        triggers = await self._service.read(
            FirstTriggers(project_id=request.project_id, ids=progress.first_ids)
        )
        return PrefixOutcome(
            resolved=progress.resolved,
            refused=progress.refused,
            triggers=triggers,
            truncated=progress.resolved > len(triggers),
            dry_run=False,
            replayed=replayed,
        )

    # ---- purges ----------------------------------------------------------------------------

    async def _purge(self, request: Purge) -> PurgeOutcome:
        record = await self._earlier(request)
        before = self._service.clock.now() - request.older_than_days * DAY_US
        progress = PurgeProgress(0, "", before)
        if record is not None:
            progress = PurgeProgress.from_json(record.reply or "{}")
            if record.status != IN_PROGRESS:
                return PurgeOutcome(progress.deleted, 0, False, replayed=True)
        if request.dry_run:
            count = await self._service.read(
                CountSettled(project_id=request.project_id, settled_before=before)
            )
            return PurgeOutcome(0, count, True)
        kept = None if record is None else record.reply
        while True:
            ids, last_id = await self._service.read(
                SettledTriggers(
                    project_id=request.project_id,
                    settled_before=progress.settled_before,
                    after_id=progress.after_id,
                    limit=PURGE_CHUNK,
                )
            )
            done = last_id is None
            after = progress._replace(after_id=last_id or progress.after_id)
            if ids or (done and request.scope_hash is not None):
                deleted, kept = await self._delete(request, tuple(ids), after, kept, done)
                after = after._replace(deleted=progress.deleted + deleted)
            progress = after
            if done:
                return PurgeOutcome(progress.deleted, 0, False)

    async def _delete(
        self, request: Purge, ids: tuple[str, ...], progress: PurgeProgress, kept: str | None, done: bool
    ) -> tuple[int, str | None]:
        """One commit of a purge; answers how many went, and what is kept of the progress."""
        keys = tuple((request.project_id, trigger_id) for trigger_id in ids)
        operation = DeleteTriggers(
            ids=keys,
            settled_before=progress.settled_before,
            entropy=self._service.entropy(),
            actor=request.actor,
            wait_groups=await self._service.read(WaitGroupsOf(keys)),
        )
        if request.scope_hash is None:
            return await self._commit(operation, progress.deleted), None

        def told(deleted: int) -> str:
            return progress._replace(deleted=progress.deleted + deleted).to_json()

        step = IdempotentStep(
            operation=operation,
            project_id=request.project_id,
            scope_hash=request.scope_hash,
            body_hash=request.body_hash or "",
            before=kept,
            progress=told,
            done=done,
        )
        deleted: int = await self._commit(step, progress.deleted)
        return deleted, told(deleted)
