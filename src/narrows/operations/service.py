"""The service: what the API, the engine's roles and a program in the same process talk to.

It performs operations and reads on a store, works out what an operation asks for outside the
writer. What takes many commits (prefix send and purge) is driven in `many_commits.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from narrows.clock import Clock
from narrows.core.ids import make_id
from narrows.core.records import UnmatchedEvent
from narrows.core.workflow_definitions import Definition, Parsed
from narrows.core.workflow_records import WorkflowVersion
from narrows.errors import Refusal, Unavailable
from narrows.operations.answers import Schemas, payloads_equal
from narrows.operations.base import Question, Undelivered
from narrows.operations.claiming import Claims
from narrows.operations.definitions import Definitions
from narrows.operations.events import SendBatch
from narrows.operations.handing import Handing
from narrows.operations.idempotency import Idempotent
from narrows.operations.many_commits import ManyCommits
from narrows.operations.prefix import PrefixOutcome, SendPrefix
from narrows.operations.purge import (
    DeleteRows,
    DeleteRuns,
    DeleteTriggers,
    DeleteWorkflowRuns,
    Purge,
    PurgeOutcome,
)
from narrows.operations.questions import (
    Answered,
    ConditionQuestion,
    DefinitionQuestion,
    TransformQuestion,
    TurnQuestion,
    sharing,
)
from narrows.operations.reads import (
    GetTriggerById,
    ListApiKeys,
    LoadSchema,
    OldRows,
    Prunable,
    WaitGroupsOf,
)
from narrows.operations.reads.internal import LoadHeldPayload
from narrows.operations.reads.retention import START, OutputsOf, RowPlace
from narrows.operations.retention import (
    Pruned,
    PruneRows,
    PruneRuns,
    PruneTriggers,
    PruneWorkflowRuns,
)
from narrows.operations.turns import Turns
from narrows.storage.members import ALONE
from narrows.storage.operation import Undecided, UndecidedTurn

#: An operation that is asked again and again because what it depends on changes is given up.
MAX_ROUNDS = 8
#: The same where it is for what follows in workflows, one out of the other: of each of a thousand steps a held event
#: may be looked at, a veto and a transform asked, then the condition of the next.
MAX_TURNS = 5_000


class UnmatchedSink(Protocol):
    """Takes what arrived and settled nothing; must not block, and may drop."""

    def add(self, event: UnmatchedEvent) -> None: ...

    def dropped_in(self, project_id: str) -> int: ...


class NoSink:
    """Forgets them: for a service without an engine."""

    def add(self, event: UnmatchedEvent) -> None:
        return None

    def dropped_in(self, project_id: str) -> int:
        return 0


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
        self.definitions = Definitions()
        self._checking = asyncio.Lock()
        self._reading: dict[tuple[str, str, int], asyncio.Future[Definition]] = {}
        store.writer.turns = Turns(self.definitions)
        self.handing = store.writer.handing = Handing(clock)
        self._many_commits = ManyCommits(self)
        self.claims = Claims(self)

    @property
    def members(self) -> Any:
        """Which nodes serve the store (`storage.members.Members`)."""
        return getattr(self.store, "members", ALONE)

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
            outcome = await self.decide(operation)
        except Refusal as refusal:
            self._note_undelivered(operation, [refusal])
            raise
        if isinstance(_inner(operation), SendBatch):
            self._note_undelivered(operation, [item for item in outcome if isinstance(item, Refusal)])
        return outcome

    async def has_api_keys(self) -> bool:
        """Whether anybody could use this server by an API key."""
        now, cursor = self.clock.now(), None
        while True:
            page = await self.read(ListApiKeys(project_id=None, limit=100, cursor=cursor))
            if any(key.revoked_at is None and (key.expires_at or now + 1) > now for key in page.items):
                return True
            cursor = page.next_cursor
            if cursor is None:
                return False

    async def prune(self, what: PruneTriggers | PruneRuns | PruneWorkflowRuns | PruneRows) -> Pruned:
        """One small commit of retention, or a look that finds nothing to delete."""
        if isinstance(what, PruneTriggers):
            keys, last = await self.read(Prunable("triggers", what.before, what.limit, what.after))
            return Pruned(await self._delete_triggers(what, tuple(keys)), last)
        if isinstance(what, PruneRuns):
            keys, last = await self.read(Prunable("runs", what.before, what.limit, what.after))
            going = DeleteRuns(ids=tuple(keys), finished_before=what.before, entropy=what.entropy)
            return Pruned(await self.decide(going) if keys else 0, last)
        if isinstance(what, PruneWorkflowRuns):
            keys, last = await self.read(Prunable("workflow_runs", what.before, what.limit, what.after))
            return Pruned(await self._delete_workflow_runs(what, tuple(keys)), last)
        if what.table == "deliveries":
            keys, last = await self.read(Prunable(what.table, what.before, what.limit, what.after))
        else:
            # All that is found goes, so that the next look begins at the start again.
            keys = await self.read(OldRows(table=what.table, before=what.before, limit=what.limit))
            last = START if len(keys) >= what.limit else None
        rows = DeleteRows(table=what.table, keys=tuple(map(tuple, keys)), before=what.before)
        return Pruned(await self.decide(rows) if keys else 0, last)

    async def _delete_triggers(self, prune: PruneTriggers, keys: tuple[RowPlace, ...]) -> int:
        if not keys:
            return 0
        operation = DeleteTriggers(
            ids=keys,
            settled_before=prune.before,
            entropy=prune.entropy,
            wait_groups=await self.read(WaitGroupsOf(keys)),
        )
        deleted: int = await self.decide(operation)
        return deleted

    async def _delete_workflow_runs(self, prune: PruneWorkflowRuns, keys: tuple[RowPlace, ...]) -> int:
        if not keys:
            return 0
        operation = DeleteWorkflowRuns(
            ids=keys,
            finished_before=prune.before,
            entropy=prune.entropy,
            outputs=await self.read(OutputsOf(keys)),
        )
        deleted: int = await self.decide(operation)
        return deleted

    async def decide(self, operation: Any) -> Any:
        """Ask the store, answer its questions, ask again: the answers hold what they were worked out
        from, so that a change in between only means another round."""
        rounds, turns = 0, 0
        known: dict[Any, Any] = {}
        texts: dict[str, str] = {}
        while rounds < MAX_ROUNDS and turns < MAX_TURNS:
            try:
                return await self.store.perform(Answered(operation, known) if known else operation)
            except UndecidedTurn as undecided:
                turns += 1  # not in vain: with each some workflow run comes further
                questions = [sharing(question, texts) for question in undecided.questions]
                known = {**known, **await self._answers(questions)}
            except Undecided as undecided:
                rounds += 1
                operation = operation.answered(await self._answers(undecided.questions))
        raise Unavailable("What this send depends on keeps changing. Send again.", retry_after_secs=1)

    async def _answers(self, questions: Sequence[Any]) -> dict[Any, Any]:
        return {question: await self._answer(question) for question in questions}

    async def _answer(self, question: Question | TurnQuestion) -> Any:
        if isinstance(question, ConditionQuestion):
            answer = self.definitions.expressions.conditions.answer
            outputs, statuses = dict(question.outputs), dict(question.statuses)
            return await asyncio.to_thread(answer, question.expression, question.payload, outputs, statuses)
        if isinstance(question, DefinitionQuestion):
            return await self.definition(question.version)
        if isinstance(question, TransformQuestion):
            transform = self.definitions.expressions.json_paths.transform
            return await asyncio.to_thread(transform, question.path, question.output)
        if question.kind == "schema":
            schema = await self.read(LoadSchema(project_id=question.project_id, payload_id=question.subject))
            return await asyncio.to_thread(self._schemas.faults, schema, question.text)
        if question.kind == "fits":
            held = LoadHeldPayload(project_id=question.project_id, held_id=question.subject)
            payload = await self.read(held)
            return await asyncio.to_thread(self._schemas.faults, question.text or "true", payload)
        trigger = await self.read(GetTriggerById(project_id=question.project_id, trigger_id=question.subject))
        return await asyncio.to_thread(payloads_equal, trigger.response_payload, question.text)

    def _note_undelivered(self, operation: Any, refusals: Sequence[Refusal]) -> None:
        """Remember events that settled nothing, for `explain`; their refusals say why."""
        actor = getattr(_inner(operation), "actor", None)
        for refusal in refusals:
            cause = refusal.__cause__
            if not isinstance(cause, Undelivered):
                continue
            now = self.clock.now()
            self.unmatched.add(
                UnmatchedEvent(
                    project_id=cause.project_id,
                    id=make_id(now, 0, self.entropy()),
                    event_key=cause.event_key,
                    reason=cause.reason,
                    trigger_id=cause.trigger_id,
                    late_us=cause.late_us,
                    detail="; ".join(refusal.details)[:500] or None,
                    sent_by=None if actor is None else actor.label,
                    arrived_at=now,
                )
            )

    # ---- definitions of workflows -----------------------------------------------------------

    async def check_definition(self, text: str) -> Parsed:
        """A definition that somebody sends, with every fault; one at a time, since it takes up to seconds of a thread
        that others need, too. Raises Unavailable where the libraries for expressions are not installed."""
        async with self._checking:
            return await asyncio.to_thread(self.definitions.check, text)

    async def definition(self, version: WorkflowVersion) -> Definition:
        """The definition of a version that is committed."""
        key = (version.project_id, version.workflow_id, version.version)
        known = self.definitions.known(*key, version.definition)
        if known is not None:
            return known
        if (reading := self._reading.get(key)) is None:
            # Once for all who ask meanwhile: it may take seconds.
            reading = asyncio.ensure_future(asyncio.to_thread(self.definitions.parsed, version))
            self._reading[key] = reading
            reading.add_done_callback(lambda _: self._reading.pop(key, None))
        return await asyncio.shield(reading)

    async def check_expressions(self) -> None:
        """Raise Unavailable where the libraries for expressions are not installed."""
        if not self.definitions.is_ready:
            await asyncio.to_thread(lambda: self.definitions.expressions)

    # ---- many commits ----------------------------------------------------------------------

    async def send_prefix(self, request: SendPrefix) -> PrefixOutcome:
        """Settle all that waits under a prefix; goes on to its end also when the caller has gone."""
        return await self._many_commits.send_prefix(request)

    async def purge(self, request: Purge) -> PurgeOutcome:
        """Delete a project's old settled triggers, in bounded commits; goes on to its end."""
        return await self._many_commits.purge(request)

    async def close(self) -> None:
        """Stop prefix sends and purges between two commits."""
        await self._many_commits.close()


def _inner(operation: Any) -> Any:
    return operation.operation if isinstance(operation, Idempotent) else operation
