"""What a unit of work has loaded: the records of a batch, found by identity and by the keys that
operations use, and what they lead to. Operations see one another's changes here, in order. It writes
nothing (`transaction.py`) and knows no rule.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from narrows.core.records import (
    ApiKey,
    CallbackUrl,
    Counters,
    HeldEvent,
    HeldTally,
    IdempotencyRecord,
    Payload,
    Project,
    Root,
    StreamToken,
    Trigger,
)
from narrows.core.run_records import (
    Delivery,
    Job,
    Message,
    ReplayTally,
    Run,
    RunAnswer,
    RunCounters,
    WaitGroup,
)
from narrows.core.states import ENDED, HeldStatus, RunStatus
from narrows.core.workflow_records import Step, Workflow, WorkflowRun, WorkflowVersion
from narrows.storage import links
from narrows.storage.lookups import LOOKUPS, TABLES, TALLIES, TO_CHANGE, Touch
from narrows.storage.statistics import Statistics

R = TypeVar("R")


#: Lookups by what names a record: one that is at hand need not be asked for again.
_BY_IDENTITY: dict[str, type[Any]] = {
    "triggers_by_id": Trigger,
    "runs_by_id": Run,
    "roots_by_id": Root,
    "wait_groups_by_id": WaitGroup,
    "jobs_by_id": Job,
    "workflows_by_id": Workflow,
    "workflow_versions_by_id": WorkflowVersion,
    "workflow_runs_by_id": WorkflowRun,
    "steps_by_number": Step,
    "payloads_by_id": Payload,
}


class Loaded:
    """The records at hand. `wall` is the wall clock in microseconds."""

    def __init__(self, wall: int) -> None:
        self.wall = wall
        self._statistics = Statistics()
        self._records: dict[type[Any], dict[tuple[str, ...], Any]] = defaultdict(dict)
        self._stored: dict[type[Any], dict[tuple[str, ...], Any]] = defaultdict(dict)
        self._deleted: dict[type[Any], dict[tuple[str, ...], None]] = defaultdict(dict)
        self._newest: dict[tuple[str, str], str] = {}
        self._held: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._event_ids: dict[tuple[str, str, str], str] = {}
        self._slugs: dict[tuple[str, str], str] = {}
        self._asked: set[Touch] = set()
        #: What was loaded and not yet asked for what it leads to; then for what time has made of it.
        self._new: list[Any] = []
        self._come: list[Any] = []
        self._has_queues = False
        self._heads: dict[tuple[str, str], int] = {}

    # ---- loading ---------------------------------------------------------------------------

    def missing(self, touches: Iterable[Touch]) -> dict[str, list[tuple[str, ...]]]:
        """Which lookups still have to be asked of the backend, by statement, keys sorted."""
        wanted: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for named in touches:
            lookup, key = TO_CHANGE.get(named[0], named[0]), named[1:]
            touch = named if lookup is named[0] else (lookup, *key)
            if touch not in self._asked:
                self._asked.add(touch)
                if key not in self._records.get(_BY_IDENTITY.get(lookup, Loaded), ()):
                    wanted[lookup].append(key)
        return {name: sorted(keys) for name, keys in wanted.items() if keys}

    def loaded(self, lookup: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take what the backend found."""
        record_class = LOOKUPS[lookup]
        self._has_queues = self._has_queues or lookup == "queued_runs_by_job"
        if (named_by := TALLIES.get(record_class)) is not None:
            for row in rows:
                self._records[record_class][row[:named_by]] = record_class(*row)
            return
        identity = TABLES[record_class].identity
        records, stored = self._records[record_class], self._stored[record_class]
        # No entry is made in it: deletes are written in the order of the first of each kind.
        deleted = self._deleted.get(record_class, ())
        for record in map(record_class._make, rows):
            key = identity(record)
            if key in deleted:
                continue  # what is loaded in a turn is as it was before the batch
            if key not in records:
                records[key] = stored[key] = record
                self._new.append(record)
            self._index(record, lookup)

    def links(self) -> Iterator[Touch]:
        """What the records lead to that were loaded since this was asked last, and every operation on them may
        need. What the batch itself has made is at hand with all that it leads to."""
        new, self._new = self._new, []
        self._come += new
        for record in new:
            yield from links.of(record)
        if self._has_queues:
            yield from self._behind_the_heads()

    def _behind_the_heads(self) -> Iterator[Touch]:
        """Of each queue so many runs more as the batch names of its heads: another operation may take those
        out (a cancel), and whoever claims behind it is to find the next."""
        if not self._heads:
            for lookup, *key in self._asked:
                if lookup == "queued_runs_by_job":
                    queue = (key[0], key[1])
                    self._heads[queue] = max(int(key[2]), self._heads.get(queue, 0))
        named = Counter(
            (run.project_id, run.job_id)
            for run in self._records[Run].values()
            if run.status == RunStatus.QUEUED and ("runs_by_id", run.project_id, run.id) in self._asked
        )
        for queue, most in self._heads.items():
            if named[queue]:
                yield ("queued_runs_by_job", *queue, str(most + named[queue]))

    def _index(self, record: Any, lookup: str | None = None) -> None:
        if isinstance(record, Trigger):
            key = (record.project_id, record.event_key)
            newest = self._get(Trigger, record.project_id, self._newest.get(key, ""))
            if lookup != "triggers_by_id" and (newest is None or newest.ordinal < record.ordinal):
                self._newest[key] = record.id
        elif isinstance(record, HeldEvent):
            ids = self._held[record.project_id, record.event_key]
            if record.status == HeldStatus.HELD and record.id not in ids and lookup != "held_by_id":
                ids.append(record.id)
            if record.event_id is not None:
                self._event_ids[record.project_id, record.event_key, record.event_id] = record.id
        elif isinstance(record, Job) and record.deleted_at is None:
            self._slugs[record.project_id, record.slug] = record.id

    def is_stored(self, record: Any) -> bool:
        """Whether the backend had such a record before this batch."""
        return TABLES[type(record)].identity(record) in self._stored[type(record)]

    # ---- what operations read --------------------------------------------------------------

    def _get(self, record_class: type[R], *key: str) -> R | None:
        found: R | None = self._records[record_class].get(key)
        return found

    def newest_trigger(self, project_id: str, event_key: str) -> Trigger | None:
        """The newest wait under the key; only that one may be waiting."""
        trigger_id = self._newest.get((project_id, event_key))
        return None if trigger_id is None else self._get(Trigger, project_id, trigger_id)

    def trigger(self, project_id: str, trigger_id: str) -> Trigger | None:
        return self._get(Trigger, project_id, trigger_id)

    def held_events(self, project_id: str, event_key: str) -> list[HeldEvent]:
        """The deliverable held events of a key, first come first."""
        ids = sorted(self._held.get((project_id, event_key), ()))
        found = (self._get(HeldEvent, project_id, held_id) for held_id in ids)
        return [
            event
            for event in found
            if event and event.status == HeldStatus.HELD and event.held_until > self.wall
        ]

    def event_by_event_id(self, project_id: str, event_key: str, event_id: str) -> HeldEvent | None:
        held_id = self._event_ids.get((project_id, event_key, event_id))
        event = None if held_id is None else self._get(HeldEvent, project_id, held_id)
        return event

    def held_event(self, project_id: str, held_id: str) -> HeldEvent | None:
        return self._get(HeldEvent, project_id, held_id)

    def project(self, project_id: str) -> Project | None:
        return self._get(Project, project_id)

    def api_key(self, api_key_id: str) -> ApiKey | None:
        return self._get(ApiKey, api_key_id)

    def callback_url(self, token_hash: str) -> CallbackUrl | None:
        return self._get(CallbackUrl, token_hash)

    def stream_token(self, token_hash: str) -> StreamToken | None:
        return self._get(StreamToken, token_hash)

    def idempotency(self, scope_hash: str) -> IdempotencyRecord | None:
        return self._get(IdempotencyRecord, scope_hash)

    def root(self, project_id: str, root_id: str) -> Root | None:
        return self._get(Root, project_id, root_id)

    def waiting_count(self, project_id: str) -> int:
        stored = self._get(Counters, project_id)
        return (stored.waiting if stored else 0) + self._statistics.waiting(project_id)

    def held_count(self, project_id: str) -> int:
        stored = self._get(Counters, project_id)
        return (stored.held if stored else 0) + self._statistics.held(project_id)

    def live_workflow_runs(self, project_id: str) -> int:
        """How many go on; the project's counters must have been touched."""
        stored = self._get(Counters, project_id)
        return (stored.workflow_runs if stored else 0) + self._statistics.workflow_runs(project_id)

    def held_count_of_key(self, project_id: str, event_key: str) -> int:
        """How many are held under a key, counted where they lie: they need not be loaded for it."""
        stored = self._get(HeldTally, project_id, event_key)
        return (stored.held if stored else 0) + self._statistics.held_by_key(project_id, event_key)

    def job(self, project_id: str, job_id: str) -> Job | None:
        return self._get(Job, project_id, job_id)

    def job_by_slug(self, project_id: str, slug: str) -> Job | None:
        """The job that has this slug now; a deleted one has given it up."""
        job_id = self._slugs.get((project_id, slug))
        job = None if job_id is None else self._get(Job, project_id, job_id)
        return job if job is not None and job.slug == slug and job.deleted_at is None else None

    def run(self, project_id: str, run_id: str) -> Run | None:
        return self._get(Run, project_id, run_id)

    def queued_runs(self, project_id: str, job_id: str) -> list[Run]:
        """The head of a job's queue: the highest priority first, then the oldest."""
        runs = [
            run
            for run in self._records[Run].values()
            if run.job_id == job_id and run.project_id == project_id and run.status == RunStatus.QUEUED
        ]
        return sorted(runs, key=lambda run: (-run.priority, run.id))

    def run_count(self, project_id: str, job_id: str, status: RunStatus) -> int:
        """How many runs of the job are in this state; its counters must have been touched."""
        stored = self._get(RunCounters, project_id, job_id)
        return (getattr(stored, status) if stored else 0) + self._statistics.runs(project_id, job_id, status)

    def wait_group(self, project_id: str, wait_group_id: str) -> WaitGroup | None:
        return self._get(WaitGroup, project_id, wait_group_id)

    def is_replayed(self, project_id: str, wait_group_id: str) -> bool:
        """Whether a live run goes on from the end of a wait that an earlier one was in; the group's tally
        must have been touched."""
        tally = self._get(ReplayTally, project_id, wait_group_id)
        live = 0 if tally is None else tally.live
        # The tally is of before the batch: what began and what ended in it is counted on top.
        for key, run in self._records[Run].items():
            live += _goes_on_from(run, wait_group_id)
            live -= _goes_on_from(self._stored[Run].get(key), wait_group_id)
        return live > 0

    def run_answer(self, project_id: str, run_id: str, dispatch: int) -> RunAnswer | None:
        return self._get(RunAnswer, project_id, run_id, str(dispatch))

    def workflow(self, project_id: str, workflow_id: str) -> Workflow | None:
        return self._get(Workflow, project_id, workflow_id)

    def workflow_by_slug(self, project_id: str, slug: str) -> Workflow | None:
        """The workflow that has this slug now; a deleted one has given it up."""
        for workflow in self._records[Workflow].values():
            if workflow.slug == slug and workflow.project_id == project_id and workflow.deleted_at is None:
                found: Workflow = workflow
                return found
        return None

    def workflow_version(self, project_id: str, workflow_id: str, version: int) -> WorkflowVersion | None:
        return self._get(WorkflowVersion, project_id, workflow_id, str(version))

    def workflow_run(self, project_id: str, workflow_run_id: str) -> WorkflowRun | None:
        return self._get(WorkflowRun, project_id, workflow_run_id)

    def step(self, project_id: str, workflow_run_id: str, number: int) -> Step | None:
        return self._get(Step, project_id, workflow_run_id, str(number))

    def payload(self, project_id: str, payload_id: str) -> Payload | None:
        """For its text, which never changes; how many hold it may be different by now."""
        return self._get(Payload, project_id, payload_id)

    def delivery(self, project_id: str, delivery_id: str) -> Delivery | None:
        return self._get(Delivery, project_id, delivery_id)

    def message(self, project_id: str, message_id: str) -> Message | None:
        return self._get(Message, project_id, message_id)


def _goes_on_from(run: Run | None, wait_group_id: str) -> bool:
    """Whether this is a live run that replays another from the end of that wait."""
    if run is None or run.wait_group_id != wait_group_id:
        return False
    return run.replay_of is not None and run.status not in ENDED
