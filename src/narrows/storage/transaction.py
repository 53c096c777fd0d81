"""One unit of work: the records that a batch of operations loaded, and what they changed.

Operations see each other's changes in order; nothing is written before the flush. It keeps the
statistics in step with the records and makes ids and facts. It holds no rule of the domain but one
that must be seen by every operation alike: an overdue trigger is timed out before anybody looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from narrows.core import triggers as rules
from narrows.core.ids import MAX_SEQUENCE, make_id
from narrows.core.records import (
    ApiKey,
    CallbackUrl,
    Counters,
    Fact,
    HeldEvent,
    HeldTally,
    IdempotencyRecord,
    Payload,
    Project,
    Root,
    StreamToken,
    Trigger,
)
from narrows.core.states import FactKind, HeldStatus, TriggerStatus
from narrows.errors import InvariantViolated
from narrows.storage.lookups import LOOKUPS, TABLES, TALLIES, Touch

R = TypeVar("R")


class Limits(NamedTuple):
    """What one project may hold; an operation beyond it is refused with 429."""

    waiting_per_project: int = 20_000_000
    held_per_key: int = 1_000
    held_per_project: int = 100_000


class Write(NamedTuple):
    """One statement of the flush with all its rows. `exact`: each row must change a row."""

    statement: str
    rows: list[tuple[Any, ...]]
    exact: bool


class Transaction:
    """What `apply(tx)` of an operation gets. `now` is the stamp (rises strictly from batch to
    batch), `wall` the wall clock; both in microseconds."""

    def __init__(self, now: int, wall: int, limits: Limits, writer: str = "local") -> None:
        self.now = now
        self.wall = wall
        self.limits = limits
        self.changes = 0
        self.facts: list[Fact] = []
        self._writer = writer
        self._sequence = 0
        self._records: dict[type[Any], dict[tuple[str, ...], Any]] = defaultdict(dict)
        self._stored: dict[type[Any], dict[tuple[str, ...], Any]] = defaultdict(dict)
        self._changed: dict[type[Any], dict[tuple[str, ...], None]] = defaultdict(dict)
        self._deleted: dict[type[Any], dict[tuple[str, ...], None]] = defaultdict(dict)
        self._bulk_deletes: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._newest: dict[tuple[str, str], str] = {}
        self._held: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._event_ids: dict[tuple[str, str, str], str] = {}
        self._released: dict[tuple[str, str], int] = defaultdict(int)
        self._asked: set[Touch] = set()
        self._counts: dict[str, list[int]] = {}
        self._held_deltas: dict[tuple[str, str], int] = defaultdict(int)

    # ---- loading ---------------------------------------------------------------------------

    def missing(self, touches: Iterable[Touch]) -> dict[str, list[tuple[str, ...]]]:
        """Which lookups still have to be asked of the backend, by statement, keys sorted."""
        wanted: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for touch in touches:
            if touch not in self._asked:
                self._asked.add(touch)
                wanted[touch[0]].append(touch[1:])
        return {name: sorted(keys) for name, keys in wanted.items()}

    def loaded(self, lookup: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take what the backend found."""
        record_class = LOOKUPS[lookup]
        if (named_by := TALLIES.get(record_class)) is not None:
            for row in rows:
                self._records[record_class][row[:named_by]] = record_class(*row)
            return
        identity = TABLES[record_class].identity
        for row in rows:
            record = record_class(*row)
            key = identity(record)
            if key not in self._records[record_class]:
                self._records[record_class][key] = self._stored[record_class][key] = record
            self._index(record, lookup)

    def links(self) -> Iterator[Touch]:
        """What the loaded records lead to and every operation on them may need."""
        for event in self._records[HeldEvent].values():
            if event.trigger_id is not None:
                yield ("triggers_by_id", event.project_id, event.trigger_id)
        for url in self._records[CallbackUrl].values():
            yield ("triggers_by_id", url.project_id, url.trigger_id)
        for token in self._records[StreamToken].values():
            if token.api_key_id is not None:
                yield ("api_keys_by_id", token.api_key_id)
        for trigger in self._records[Trigger].values():
            if trigger.root_id is not None:
                yield ("roots_by_id", trigger.project_id, trigger.root_id)

    def time_out_overdue(self, entropy: int) -> None:
        """Settle every loaded trigger whose time has passed, as the timer would have done: its
        lateness is never visible to an operation."""
        for trigger in list(self._records[Trigger].values()):
            if rules.is_overdue(trigger, self.wall):
                self.advance(rules.time_out(trigger, self.now), FactKind.TRIGGER_TIMED_OUT, "engine", entropy)

    def _index(self, record: Any, lookup: str | None = None) -> None:
        if isinstance(record, Trigger):
            key = (record.project_id, record.event_key)
            newest = self._newest.get(key)
            if lookup != "triggers_by_id" and (newest is None or newest < record.id):
                self._newest[key] = record.id
        elif isinstance(record, HeldEvent):
            ids = self._held[record.project_id, record.event_key]
            if record.status == HeldStatus.HELD and record.id not in ids and lookup != "held_by_id":
                ids.append(record.id)
            if record.event_id is not None:
                self._event_ids[record.project_id, record.event_key, record.event_id] = record.id

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
        return (stored.waiting if stored else 0) + self._deltas(project_id)[0]

    def held_count(self, project_id: str) -> int:
        stored = self._get(Counters, project_id)
        return (stored.held if stored else 0) + self._deltas(project_id)[5]

    def held_count_of_key(self, project_id: str, event_key: str) -> int:
        """How many are held under a key, counted where they lie: they need not be loaded for it."""
        stored = self._get(HeldTally, project_id, event_key)
        return (stored.held if stored else 0) + self._held_deltas[project_id, event_key]

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
        self.save(trigger)
        return trigger

    def save(self, record: Any) -> None:
        """Insert or update; which of the two, the flush finds out."""
        record_class = type(record)
        key = TABLES[record_class].identity(record)
        old = self._records[record_class].get(key)
        if record_class is Trigger:
            self._count_trigger(old, record)
        elif record_class is HeldEvent:
            self._count_held(old, record)
        self._records[record_class][key] = record
        self._changed[record_class][key] = None
        if old is None:
            self._index(record)
        self.changes += 1

    def delete(self, record: Any) -> None:
        """Delete a loaded record."""
        record_class = type(record)
        key = TABLES[record_class].identity(record)
        if record_class is Trigger:
            self._count_trigger(record, None)
        elif record_class is HeldEvent:
            self._count_held(record, None)
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

    def delete_rows(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Delete rows that need not be loaded to know that they must go."""
        self._bulk_deletes[statement].extend(rows)
        self.changes += 1

    # ---- statistics ------------------------------------------------------------------------

    def _deltas(self, project_id: str) -> list[int]:
        deltas = self._counts.get(project_id)
        if deltas is None:
            deltas = self._counts[project_id] = [0, 0, 0, 0, 0, 0]
        return deltas

    def _count_trigger(self, old: Trigger | None, new: Trigger | None) -> None:
        for trigger, sign in ((old, -1), (new, 1)):
            if trigger is not None:
                deltas = self._deltas(trigger.project_id)
                deltas[_STATUS_COLUMN[trigger.status]] += sign
                if trigger.received_at is not None:
                    deltas[4] += sign * (trigger.received_at - trigger.requested_at)

    def _count_held(self, old: HeldEvent | None, new: HeldEvent | None) -> None:
        for event, sign in ((old, -1), (new, 1)):
            if event is not None and event.status == HeldStatus.HELD:
                self._deltas(event.project_id)[5] += sign
                self._held_deltas[event.project_id, event.event_key] += sign

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
            self._collect(record_class, table.insert, found)
        if self._released:
            rows = [(*key, released) for key, released in self._released.items()]
            found["release_payloads"] = Write("release_payloads", rows, False)
            gone = list(self._released)
            found["delete_released_payloads"] = Write("delete_released_payloads", [*gone], False)
        if self.facts:
            found["insert_facts"] = Write("insert_facts", [tuple(fact) for fact in self.facts], False)
        counts = [
            (project_id, self._writer, *deltas) for project_id, deltas in self._counts.items() if any(deltas)
        ]
        if counts:
            found["add_counters"] = Write("add_counters", counts, False)
        return list(found.values())

    def _collect(self, record_class: type[Any], insert: str, found: dict[str, Write]) -> None:
        stored = self._stored[record_class]
        records = self._records[record_class]
        update = TABLES[record_class].update
        for key in self._changed[record_class]:
            record, old = records[key], stored.get(key)
            if old is None or update is None:
                row = _row_of(record)
                found.setdefault(insert, Write(insert, [], False)).rows.append(row)
            else:
                statement, row = update(old, record)
                found.setdefault(statement, Write(statement, [], True)).rows.append(row)

    def changed(self, record_class: type[R]) -> tuple[R, ...]:
        """The final state of every record of this kind that was changed."""
        records = self._records[record_class]
        return tuple(records[key] for key in self._changed[record_class])


_STATUS_COLUMN = {
    TriggerStatus.WAITING: 0,
    TriggerStatus.RECEIVED: 1,
    TriggerStatus.TIMED_OUT: 2,
    TriggerStatus.CANCELED: 3,
}


def _row_of(record: Any) -> tuple[Any, ...]:
    """The record as its table's row: a payload that has a row of its own is not written twice."""
    if isinstance(record, Trigger):
        if record.request_payload_id:
            record = record._replace(request_payload=None)
        if record.response_payload_id:
            record = record._replace(response_payload=None)
    elif isinstance(record, HeldEvent) and record.payload_id:
        record = record._replace(payload=None)
    return tuple(record)
