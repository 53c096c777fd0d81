"""One unit of work: the records that a batch of operations loaded, and what they changed.

Operations see each other's changes in order; nothing is written before the flush. It keeps the
statistics in step with the records, makes ids and facts, and sees to what follows in the same commit
(`following.py`). It holds no rule of the domain but one that must be seen by every operation alike: an
overdue trigger is timed out before anybody looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

from narrows.core import triggers as rules
from narrows.core.ids import MAX_SEQUENCE, made_at, make_id
from narrows.core.records import Fact, HeldEvent, Payload, Trigger
from narrows.core.run_records import Job, Message, Run
from narrows.core.states import WORKFLOW_RUN_ENDED, FactKind, RunStatus
from narrows.core.workflow_records import Step, WorkflowRun
from narrows.errors import InvariantViolated
from narrows.storage import following
from narrows.storage.backend import Write
from narrows.storage.loaded import Loaded
from narrows.storage.lookups import TABLES, cast_ballot, note_delivery
from narrows.storage.noted import END_OF_RUN, NotAdvancedYet, Noted, Notes, step_ref_of

R = TypeVar("R")

OVERDUE: Final = "its time was over"


class Limits(NamedTuple):
    """What one project may hold; an operation beyond it is refused with 429. `descendants` are the workflow runs
    that one may start, directly or through those that it has started: depth alone bounds no tree."""

    waiting_per_project: int = 20_000_000
    held_per_key: int = 1_000
    held_per_project: int = 100_000
    workflow_runs_per_project: int = 1_000_000
    descendants: int = 1_000


class Transaction(Loaded):
    """What `apply(tx)` of an operation gets. `now` is the stamp (rises strictly from batch to
    batch), `wall` the wall clock; both in microseconds."""

    def __init__(self, now: int, wall: int, limits: Limits, writer: str = "local") -> None:
        super().__init__(wall)
        self.now = now
        self.limits = limits
        self.changes = 0
        self.facts: list[Fact] = []
        self.notes = Notes()
        self.empty_queues: set[tuple[str, str]] = set()
        self._writer = writer
        self._sequence = 0
        self._changed: dict[type[Any], dict[tuple[str, ...], None]] = defaultdict(dict)
        self._bulk_deletes: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._released: dict[tuple[str, str], int] = defaultdict(int)
        self._overdue: set[tuple[str, str]] = set()

    def come_after_what_is_loaded(self) -> None:
        """No change is stamped before those that it follows, also where another node made them by a clock
        that was ahead (a standby that took over may be behind). What this transaction makes has its own stamp."""
        self.now = max(self.now, max(map(_stamp_of, self._come), default=0) + 1)

    def time_out_overdue(self, entropy: int) -> None:
        """Settle every trigger that has just been loaded and whose time has passed, as the timer would have
        done: its lateness is never visible to an operation. In the order of their times: of a group one may
        make the others superfluous."""
        come, self._come = self._come, []
        overdue = [each for each in come if type(each) is Trigger and rules.is_overdue(each, self.wall)]
        for each in sorted(overdue, key=lambda trigger: (trigger.expires_at, trigger.id)):
            trigger = self._records[Trigger][each.project_id, each.id]
            if rules.is_waiting(trigger):
                self.advance(*rules.come_due(trigger, self.now), "engine", entropy)
        for run in come:
            if type(run) is WorkflowRun and run.due_at is not None and run.due_at <= self.wall:
                self._time_out_workflow_run(run, entropy)

    def _time_out_workflow_run(self, run: WorkflowRun, entropy: int) -> None:
        key = (run.project_id, run.id)
        if key not in self._overdue and run.status not in WORKFLOW_RUN_ENDED:
            self._overdue.add(key)
            self.notes.add(key, Noted(FactKind.WORKFLOW_RUN_TIMED_OUT, error=OVERDUE, entropy=entropy))

    # ---- what operations write -------------------------------------------------------------

    def new_id(self, entropy: int) -> str:
        self._sequence += 1
        if self._sequence > MAX_SEQUENCE:
            raise InvariantViolated("one transaction made too many ids")
        return make_id(self.now, self._sequence, entropy)

    def record_fact(
        self,
        kind: FactKind,
        project_id: str,
        subject_id: str,
        actor: str,
        entropy: int,
        *,
        root_id: str | None = None,
        previous_id: str | None = None,
        version: int | None = None,
        detail: str | None = None,
    ) -> str:
        """Append a fact, written in this very commit; answers its id."""
        fact_id = self.new_id(entropy)
        self.facts.append(
            Fact(
                project_id, fact_id, kind, subject_id, root_id, previous_id, actor, version, self.now, detail
            )
        )
        self.changes += 1
        return fact_id

    def advance(
        self, trigger: Trigger, kind: FactKind, actor: str, entropy: int, detail: str | None = None
    ) -> Trigger:
        """Save a trigger that changed together with the fact that says so."""
        fact_id = self.record_fact(
            kind,
            trigger.project_id,
            trigger.id,
            actor,
            entropy,
            root_id=trigger.root_id,
            previous_id=trigger.last_fact_id,
            version=trigger.version,
            detail=detail,
        )
        trigger = trigger._replace(last_fact_id=fact_id)
        if trigger.notify_url is not None:
            trigger = following.notify(self, trigger, kind, entropy)
        self.save(trigger)
        if trigger.wait_group_id is not None and trigger.settled_at is not None:
            following.follow(self, trigger, actor, entropy)
        return trigger

    def advance_run(
        self, run: Run, kind: FactKind, actor: str, entropy: int, detail: str | None = None
    ) -> Run:
        """The same for a run; a root ends with its run."""
        fact_id = self.record_fact(
            kind,
            run.project_id,
            run.id,
            actor,
            entropy,
            root_id=run.root_id,
            previous_id=run.last_fact_id,
            version=run.version,
            detail=detail,
        )
        run = run._replace(last_fact_id=fact_id)
        self.save(run)
        following.end_root(self, run)
        if run.workflow_run_id is not None and run.status in END_OF_RUN:
            self._note_end(run, actor, entropy)
        return run

    def _note_end(self, run: Run, actor: str, entropy: int) -> None:
        """Of a job's run that a step of a workflow run started."""
        noted = Noted(
            END_OF_RUN[run.status],
            step_ref_of(run.workflow_step_run_id or ""),
            run.id,
            run.error,
            run.result,
            run.result_id,
            actor=actor,
            entropy=entropy,
        )
        self.notes.add((run.project_id, run.workflow_run_id or ""), noted)

    def see_advanced(self, project_id: str, workflow_run_id: str) -> None:
        """For an operation whose answer depends on how the workflow run stands. Raises NotAdvancedYet where
        that is not known: then it is applied again when it is."""
        if self.notes.are_pending((project_id, workflow_run_id)):
            raise NotAdvancedYet

    def save(self, record: Any) -> None:
        """Insert or update; which of the two, the flush finds out."""
        record_class = type(record)
        key = TABLES[record_class].identity(record)
        old = self._records[record_class].get(key)
        self._statistics.count(old, record)
        self._records[record_class][key] = record
        self._changed[record_class][key] = None
        if old is None or record_class is Job:
            self._index(record)
        self.changes += 1

    def delete(self, record: Any) -> None:
        """Delete a loaded record."""
        record_class = type(record)
        key = TABLES[record_class].identity(record)
        self._statistics.count(record, None)
        self._records[record_class].pop(key, None)
        self._changed[record_class].pop(key, None)
        self._deleted[record_class][key] = None
        self.changes += 1

    def save_payload(self, project_id: str, text: str, entropy: int, holders: int = 1) -> str:
        """Keep a text as a Payload row; answers its id."""
        payload = Payload(project_id, self.new_id(entropy), text, holders)
        self.save(payload)
        return payload.id

    def release_payload(self, project_id: str, payload_id: str | None) -> None:
        """One of its holders goes; with the last one the payload goes."""
        if payload_id is not None:
            self._released[project_id, payload_id] += 1

    def share_payload(self, project_id: str, payload_id: str | None) -> None:
        """It gets one holder more."""
        if payload_id is not None:
            self._released[project_id, payload_id] -= 1
            self.changes += 1

    def delete_rows(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Delete rows that need not be loaded to know that they must go."""
        self._bulk_deletes[statement].extend(rows)
        self.changes += 1

    def found_empty(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Note that nothing is queued of these (project id, job id)."""
        self.empty_queues.update(jobs)

    def newly_queued(self) -> list[Run]:
        """The runs that this transaction leaves queued and that were not so before."""
        stored, records = self._stored[Run], self._records[Run]
        return [
            run
            for key in self._changed[Run]
            if (run := records[key]).status == RunStatus.QUEUED
            and ((old := stored.get(key)) is None or old.status != RunStatus.QUEUED)
        ]

    # ---- flushing --------------------------------------------------------------------------

    def writes(self) -> list[Write]:
        """Everything to be written: one statement per kind of change, whatever the operations were."""
        found: dict[str, Write] = {}
        for statement, rows in self._bulk_deletes.items():
            found[statement] = Write(statement, rows, False)
        for record_class, keys in self._deleted.items():
            stored = [key for key in keys if key in self._stored[record_class]]
            delete = TABLES[record_class].delete
            if stored and delete is not None:
                earlier = found.get(delete)
                found[delete] = Write(delete, (earlier.rows if earlier else []) + [*stored], False)
        for record_class, table in TABLES.items():
            if record_class in self._changed:
                self._collect(record_class, table.insert, found)
        if self._released:
            # In order: two writers that release the same payloads wait in a line.
            rows = [(*key, released) for key, released in sorted(self._released.items())]
            found["release_payloads"] = Write("release_payloads", rows, False)
            gone = sorted(self._released)
            found["delete_released_payloads"] = Write("delete_released_payloads", [*gone], False)
        if self.facts:
            found["insert_facts"] = Write("insert_facts", [tuple(fact) for fact in self.facts], False)
        for statement, counts in (
            ("add_counters", self._statistics.rows(self._writer)),
            ("add_run_counters", self._statistics.run_rows(self._writer)),
            ("add_workflow_run_counters", self._statistics.workflow_run_rows(self._writer)),
        ):
            if counts:
                found[statement] = Write(statement, counts, False)
        return list(found.values())

    def _collect(self, record_class: type[Any], insert: str, found: dict[str, Write]) -> None:
        stored = self._stored[record_class]
        records = self._records[record_class]
        update = TABLES[record_class].update
        for key in self._changed[record_class]:
            record, old = records[key], stored.get(key)
            if old is None or update is None:
                _rows_of(insert, False, found).append(_row_of(record))
            else:
                statement, row = update(old, record)
                _rows_of(statement, True, found).append(row)
                if record_class is Trigger:
                    _note(old, record, statement, found)

    def changed(self, record_class: type[R]) -> tuple[R, ...]:
        """The final state of every record of this kind that was changed."""
        records = self._records[record_class]
        return tuple(records[key] for key in self._changed[record_class])


def _rows_of(statement: str, exact: bool, found: dict[str, Write]) -> list[tuple[Any, ...]]:
    """The rows of a statement, to add to."""
    write = found.get(statement)
    if write is None:
        write = found[statement] = Write(statement, [], exact)
    return write.rows


def _stamp_of(record: Any) -> int:
    """When it was changed last, as far as it says so."""
    if isinstance(record, Trigger):
        return record.settled_at or record.requested_at
    if isinstance(record, Run):
        return record.dispatched_at or record.created_at
    return made_at(record.last_fact_id or record.id) if isinstance(record, WorkflowRun) else 0


def _note(old: Trigger, new: Trigger, written: str, found: dict[str, Write]) -> None:
    """Beside its other changes, how a trigger's newest delivery stands and what its event counts for: statements of
    their own, so that a settling writes no column that most triggers do not use."""
    noted = []
    if new.notify_status != old.notify_status:
        noted.append(note_delivery(new))
    if new.ballot != old.ballot:
        noted.append(cast_ballot(new))
    for statement, row in noted:
        if written != statement:
            _rows_of(statement, True, found).append(row)


def _row_of(record: Any) -> tuple[Any, ...]:
    """The record as its table's row: a payload that has a row of its own is not written twice."""
    if isinstance(record, Trigger):
        if record.request_payload_id:
            record = record._replace(request_payload=None)
        if record.response_payload_id:
            record = record._replace(response_payload=None)
    elif isinstance(record, HeldEvent):
        if record.payload_id:
            record = record._replace(payload=None)
    elif isinstance(record, Run):
        record = record._replace(
            payload=None if record.payload_id else record.payload,
            result=None if record.result_id else record.result,
            state=None if record.state_id else record.state,
        )
    elif isinstance(record, WorkflowRun | Message):
        if record.payload_id:
            record = record._replace(payload=None)
    elif isinstance(record, Step) and record.output_id:
        record = record._replace(output=None)
    return tuple(record)
