"""Handing runs out and what becomes of a handing-out: claims, leases, the outcome of the server's own
dispatches, and waking what is due. What a handler itself asks for is in `run_plane.py`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from narrows.core import runs as rules
from narrows.core.run_records import Job, Run
from narrows.core.states import FactKind, RunStatus
from narrows.errors import Refusal
from narrows.operations.base import Actor, check_credential
from narrows.operations.waits import keep_text, run_touches
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction

#: Of one job a commit hands out at most so many.
MAX_CLAIMED = 500


class Claim(NamedTuple):
    """Somebody with room for `limit` runs of these jobs. `holder` is `worker:<name>` or
    `server:<instance>`; the lease is in microseconds."""

    project_id: str
    job_ids: tuple[str, ...]
    limit: int
    holder: str
    lease_us: int
    actor: Actor


class DispatchResult(NamedTuple):
    """What came of a dispatch that the server made. `result` is a JSON text."""

    completed: bool
    result: str | None = None
    error: str | None = None
    retry: bool = True
    retry_after_secs: int | None = None


#: (project id, run id, dispatch)
Lease = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRuns:
    """Hand queued runs out, to each claim in turn: the highest priority first, then the oldest, never more
    of a job than its `max_concurrency`. Answers the runs of each claim, or its refusal (Unauthenticated).
    """

    background: ClassVar[bool] = False

    claims: tuple[Claim, ...]
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        touches: list[Touch] = [
            ("api_keys_by_id", claim.actor.api_key_id)
            for claim in self.claims
            if claim.actor.api_key_id is not None
        ]
        for (project_id, job_id), limit in self._asked().items():
            touches.append(("jobs_by_id", project_id, job_id))
            touches.append(("queued_runs_by_job", project_id, job_id, str(limit)))
        return touches

    def _asked(self) -> dict[tuple[str, str], int]:
        """How many runs of each job are looked for."""
        most: dict[tuple[str, str], int] = defaultdict(int)
        for claim in self.claims:
            for job_id in claim.job_ids:
                most[claim.project_id, job_id] += claim.limit
        return {key: min(limit, MAX_CLAIMED) for key, limit in most.items()}

    def apply(self, tx: Transaction) -> tuple[tuple[Run, ...] | Refusal, ...]:
        queues: dict[tuple[str, str], list[Run]] = {}
        answers = tuple(self._grant(tx, claim, queues) for claim in self.claims)
        given = Counter(
            (run.project_id, run.job_id) for runs in answers if isinstance(runs, tuple) for run in runs
        )
        asked = self._asked()
        tx.found_empty(key for key, left in queues.items() if not left and given[key] < asked[key])
        return answers

    def _grant(
        self, tx: Transaction, claim: Claim, queues: dict[tuple[str, str], list[Run]]
    ) -> tuple[Run, ...] | Refusal:
        try:
            check_credential(tx, claim.actor)
        except Refusal as refusal:
            return refusal
        granted: list[Run] = []
        while len(granted) < claim.limit:
            queue = self._next_queue(tx, claim, queues)
            if queue is None:
                break
            granted.append(hand_out(tx, queue.pop(0), claim, self.entropy))
        return tuple(granted)

    def _next_queue(
        self, tx: Transaction, claim: Claim, queues: dict[tuple[str, str], list[Run]]
    ) -> list[Run] | None:
        """Of the claim's jobs the queue whose head comes first."""
        best: list[Run] | None = None
        for job_id in claim.job_ids:
            key = (claim.project_id, job_id)
            if key not in queues:
                queues[key] = tx.queued_runs(*key)
            queue = queues[key]
            if queue and (best is None or place_in_queue(queue[0]) < place_in_queue(best[0])):
                job = tx.job(*key)
                if job is not None and _has_room(tx, job):
                    best = queue
        return best


def hand_out(tx: Transaction, run: Run, claim: Claim, entropy: int) -> Run:
    """Dispatch a queued run to whoever claims it."""
    run = rules.dispatch(run, claim.holder, claim.lease_us, tx.now)
    detail = json.dumps({"dispatch": run.dispatch, "attempt": run.attempt}, separators=(",", ":"))
    return tx.advance_run(run, FactKind.RUN_DISPATCHED, claim.holder, entropy, detail)


def place_in_queue(run: Run) -> tuple[int, str]:
    """By which queued runs are ordered: what comes first is handed out first."""
    return -run.priority, run.id


def _has_room(tx: Transaction, job: Job) -> bool:
    """Exactly: counted in this very transaction."""
    if job.deleted_at is not None:
        return False
    if job.max_concurrency is None:
        return True
    return tx.run_count(job.project_id, job.id, RunStatus.EXECUTING) < job.max_concurrency


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewLeases:
    """Renew leases; answers for each whether it is that dispatch's still."""

    background: ClassVar[bool] = True

    leases: tuple[Lease, ...]
    lease_us: int
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [("runs_by_id", project_id, run_id) for project_id, run_id, _ in self.leases]

    def apply(self, tx: Transaction) -> tuple[bool, ...]:
        return tuple(self._renew(tx, *lease) for lease in self.leases)

    def _renew(self, tx: Transaction, project_id: str, run_id: str, dispatch: int) -> bool:
        run = tx.run(project_id, run_id)
        if run is None or not is_of_dispatch(run, dispatch):
            return False
        tx.save(rules.renew(run, self.lease_us, tx.now))
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishDispatch:
    """Record what came of a dispatch of the server's. None if the run is no longer that dispatch's: it
    asked to wait, ended by itself, was canceled, or its lease was lost; then nothing is changed."""

    background: ClassVar[bool] = False

    project_id: str
    run_id: str
    dispatch: int
    result: DispatchResult
    entropy: int

    @property
    def size_bytes(self) -> int:
        return len(self.result.result or "")

    def touches(self) -> list[Touch]:
        return run_touches(self.project_id, self.run_id)

    def apply(self, tx: Transaction) -> Run | None:
        run = tx.run(self.project_id, self.run_id)
        if run is None or not is_of_dispatch(run, self.dispatch):
            return None
        actor = run.holder or "engine"
        if self.result.completed:
            return complete(tx, run, self.result.result, actor, self.entropy)
        return fail(
            tx,
            run,
            self.result.error or "the dispatch failed",
            actor,
            self.entropy,
            retry=self.result.retry,
            retry_after_secs=self.result.retry_after_secs,
        )


def is_of_dispatch(run: Run, dispatch: int) -> bool:
    """Whether this dispatch executes the run still."""
    return rules.is_executing(run) and run.dispatch == dispatch


def complete(tx: Transaction, run: Run, result: str | None, actor: str, entropy: int) -> Run:
    result_id = keep_text(tx, run.project_id, result, entropy)
    completed = rules.complete(run, result, result_id, tx.now)
    return tx.advance_run(completed, FactKind.RUN_COMPLETED, actor, entropy)


def fail(
    tx: Transaction,
    run: Run,
    error: str,
    actor: str,
    entropy: int,
    *,
    retry: bool,
    retry_after_secs: int | None = None,
) -> Run:
    """A failed attempt; what follows is the rules' choice."""
    failed, kind = rules.fail(
        run, error, retry=retry, retry_after_secs=retry_after_secs, entropy=entropy, now=tx.now
    )
    return tx.advance_run(failed, kind, actor, entropy, _error_detail(error))


def _error_detail(error: str) -> str:
    return json.dumps({"error": error[:1_000]}, ensure_ascii=False, separators=(",", ":"))


#: (project id, run id)
RunKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeRuns:
    """Queue what is delayed and due, and take what has lost its lease from whoever holds it; answers how
    many of `ids` were due."""

    background: ClassVar[bool] = True

    ids: tuple[RunKey, ...]
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [touch for key in self.ids for touch in run_touches(*key)]

    def apply(self, tx: Transaction) -> int:
        return sum(self._wake(tx, key) for key in self.ids)

    def _wake(self, tx: Transaction, key: RunKey) -> bool:
        run = tx.run(*key)
        if run is None or run.due_at is None or run.due_at > tx.wall:
            return False
        if run.status == RunStatus.DELAYED:
            tx.advance_run(rules.queue_when_due(run), FactKind.RUN_DUE, "engine", self.entropy)
        else:
            lost, kind = rules.lose_lease(run, tx.now, tx.wall, self.entropy)
            tx.advance_run(lost, kind, "engine", self.entropy, _error_detail(lost.error or ""))
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBackDispatches:
    """At the start of a server: what an earlier life of it dispatched is queued again at once, and no
    attempt is counted, since it was not the handler's fault. Workers could not renew their leases
    meanwhile: they get `grace_us` more. Answers how many were queued."""

    background: ClassVar[bool] = True

    ids: tuple[RunKey, ...]
    holder: str
    grace_us: int
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    def touches(self) -> list[Touch]:
        return [("runs_by_id", *key) for key in self.ids]

    def apply(self, tx: Transaction) -> int:
        return sum(self._take_back(tx, key) for key in self.ids)

    def _take_back(self, tx: Transaction, key: RunKey) -> bool:
        run = tx.run(*key)
        if run is None or not rules.is_executing(run) or run.holder == self.holder:
            return False
        if (run.holder or "").startswith("server:"):
            tx.advance_run(rules.release(run), FactKind.RUN_RELEASED, "engine", self.entropy)
            return True
        tx.save(rules.renew(run, self.grace_us, tx.now))
        return False
