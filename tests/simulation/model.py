"""What Narrows promises, as the plainest program: dictionaries, one operation after the other.

Written from the contract and not from the code under test. It is told each operation in the order
of the commits, with the outcome that the server worked out; it says what had to come out, and
after each commit what the database has to hold. Whatever differs is a `Violation`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from narrows.core.records import NEVER
from narrows.errors import Refusal
from narrows.operations.base import HeldOutcome, Replayed, TriggerOutcome
from narrows.storage.operation import Undecided
from narrows.storage.writer import Outcome
from tests.simulation.run_values import Said
from tests.simulation.settling import Settling
from tests.simulation.values import (
    DAY_US,
    HELD_PER_KEY,
    HELD_PER_PROJECT,
    Answered,
    Held,
    Violation,
    Wait,
    fits,
    has_done_something,
    label_of,
    same_json,
)


class WaitModel(Settling):
    """The state that the promises of waits and events speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: dict[str, Wait] = {}
        self.held: dict[str, Held] = {}
        self.answered: dict[str, Answered] = {}
        self.callbacks: dict[str, str] = {}
        #: Outcomes that were committed, by identity: only these may be answered with success.
        self.committed: dict[int, Any] = {}
        #: The labels of the requests of which something was committed.
        self.done: set[str] = set()
        #: prefix payload -> how many triggers were settled with it; purge label -> how many it deleted.
        self.resolved_by: dict[str | None, int] = {}
        self.deleted_by: dict[str, int] = {}

    # ---- looking ----

    def newest(self, project_id: str, event_key: str) -> Wait | None:
        """The newest wait of a key, timed out first if its time has passed."""
        found = [
            wait
            for wait in self.waits.values()
            if wait.event_key == event_key and wait.project_id == project_id
        ]
        newest = max(found, key=lambda wait: wait.ordinal, default=None)
        return None if newest is None else self.in_time(newest)

    def by_id(self, project_id: str, trigger_id: str) -> Wait | None:
        wait = self.waits.get(trigger_id)
        return None if wait is None or wait.project_id != project_id else self.in_time(wait)

    def deliverable(self, project_id: str, event_key: str) -> list[Held]:
        return sorted(
            (
                held
                for held in self.held.values()
                if held.project_id == project_id
                and held.event_key == event_key
                and held.status == "held"
                and held.held_until > self.wall
            ),
            key=lambda held: held.id,
        )

    def is_needed(self, wait: Wait) -> bool:
        """Whether purge must leave it alone."""
        return wait.needed

    # ---- stepping ----

    def step(self, operation: Any, outcome: Outcome, now: int, wall: int) -> None:
        """One committed operation with its outcome."""
        self.now, self.wall = now, wall
        if isinstance(outcome.error, Undecided):
            return
        if outcome.error is not None and not isinstance(outcome.error, Refusal):
            raise Violation(f"{operation} failed: {outcome.error!r}")
        expected = self.expect(operation, outcome.value)
        problem = self.differs(expected, outcome.error if outcome.error is not None else outcome.value)
        if problem:
            raise Violation(f"{operation}: {problem}")
        if outcome.error is None:
            self.committed[id(outcome.value)] = outcome.value
            if has_done_something(outcome.value):
                self.done.add(label_of(operation))

    def expect(self, operation: Any, value: Any) -> Any:
        """What has to come out: a refusal's code in text, else the value to compare with. Whatever
        changes, changes here. `value` only tells which ids the server made."""
        handler = getattr(self, f"_{type(operation).__name__}", None)
        if handler is None:
            raise Violation(f"the model does not know {type(operation).__name__}")
        return handler(operation, value)

    def differs(self, expected: Any, came: Any) -> str | None:
        """What is wrong with the outcome, None if nothing."""
        if isinstance(expected, Said) and not isinstance(came, Refusal):
            return None if came == expected.value else f"answered {came}, expected {expected.value}"
        if isinstance(came, Refusal):
            return None if came.code == expected else f"refused with {came.code}, expected {expected}: {came}"
        if isinstance(expected, str):
            return f"came out as {came}, but had to be refused with {expected}"
        if isinstance(expected, Wait):
            if not isinstance(came, TriggerOutcome):
                return f"expected {expected}, got {came}"
            return self._differs_in_trigger(expected, came)
        if isinstance(expected, Held):
            same = isinstance(came, HeldOutcome) and came.held.id == expected.id
            return None if same else f"expected {expected}, got {came}"
        if isinstance(expected, Answered):
            same = isinstance(came, Replayed) and came.record.trigger_id == expected.trigger_id
            return None if same else f"expected the first answer {expected}, got {came}"
        if isinstance(expected, list):
            for one, other in zip(expected, came, strict=True):
                if problem := self.differs(one, other):
                    return problem
            return None
        return None if expected is None or expected == came else f"expected {expected}, got {came}"

    def _differs_in_trigger(self, expected: Wait, came: TriggerOutcome) -> str | None:
        trigger = came.trigger
        said = (trigger.id, trigger.status, trigger.version, trigger.project_id, trigger.event_key)
        meant = (expected.id, expected.status, expected.version, expected.project_id, expected.event_key)
        return None if said == meant else f"answered {said}, expected {meant}"

    # ---- the operations ----

    def _CreateProject(self, operation: Any, value: Any) -> Any:  # noqa: N802 - named after the operation
        return None

    def _Idempotent(self, operation: Any, value: Any) -> Any:  # noqa: N802
        earlier = self.answered.get(operation.scope_hash)
        if earlier is not None and earlier.created_at + DAY_US > self.wall:
            self._touch(operation.operation)
            return earlier if earlier.body_hash == operation.body_hash else "conflict"
        expected = self.expect(operation.operation, value)
        if not isinstance(expected, str):
            trigger_id = expected.id if isinstance(expected, Wait) else None
            self.answered[operation.scope_hash] = Answered(operation.body_hash, trigger_id, self.now)
        return expected

    def _touch(self, operation: Any) -> None:
        """Looking at a wait whose time has passed times it out, whatever comes of the operation."""
        if getattr(operation, "trigger_id", None) is not None:
            self.by_id(operation.project_id, operation.trigger_id)
        elif getattr(operation, "event_key", None) is not None:
            self.newest(operation.project_id, operation.event_key)

    def _OpenTrigger(self, operation: Any, value: Any) -> Any:  # noqa: N802
        newest = self.newest(operation.project_id, operation.event_key)
        if newest is not None and newest.status == "waiting":
            if operation.if_waiting != "join":
                return "conflict"
            if operation.callback_token_hash:
                self.callbacks[operation.callback_token_hash] = newest.id
            return replace(newest)
        if not self.has_room(operation.project_id, 1):
            return "limit_reached"
        if not isinstance(value, TriggerOutcome):
            return "(a new trigger)"
        if value.trigger.id in self.waits:
            raise Violation(f"the id {value.trigger.id} was given twice")
        wait = Wait(
            project_id=operation.project_id,
            id=value.trigger.id,
            event_key=operation.event_key,
            ordinal=1 if newest is None else newest.ordinal + 1,
            version=1,
            status="waiting",
            payload=None,
            timeout_secs=operation.timeout_secs,
            requested_at=self.now,
            expires_at=self._expiry(operation.timeout_secs),
            settled_at=None,
            sent_by=None,
            schema=operation.expected_schema,
        )
        self.waits[wait.id] = wait
        if operation.callback_token_hash:
            self.callbacks[operation.callback_token_hash] = wait.id
        for held in self.deliverable(operation.project_id, operation.event_key):
            if fits(wait.schema, held.payload):
                self.receive(wait, held.payload, value.trigger.sent_by)
                self._deliver(held, wait)
                break
        return replace(wait)

    def _expiry(self, timeout_secs: int) -> int:
        return self.now + timeout_secs * 1_000_000 if timeout_secs else NEVER

    def _deliver(self, held: Held, wait: Wait) -> None:
        if held.event_id is None:
            del self.held[held.id]
        else:
            held.status, held.trigger_id, held.payload = "delivered", wait.id, None

    def _CancelTrigger(self, operation: Any, value: Any) -> Any:  # noqa: N802
        wait = self._meant(operation)
        if wait is None:
            return "not_found"
        if wait.status != "waiting":
            return "conflict"
        self.cancel_wait(wait)
        return replace(wait)

    def _meant(self, operation: Any) -> Wait | None:
        if operation.trigger_id is not None:
            return self.by_id(operation.project_id, operation.trigger_id)
        return self.newest(operation.project_id, operation.event_key)

    def _ExtendTrigger(self, operation: Any, value: Any) -> Any:  # noqa: N802
        wait = self.by_id(operation.project_id, operation.trigger_id)
        if wait is None:
            return "not_found"
        if wait.status != "waiting":
            return "conflict"
        wait.version += 1
        wait.expires_at = self._expiry(operation.timeout_secs)
        span = -(-(wait.expires_at - wait.requested_at) // 1_000_000)
        wait.timeout_secs = span if operation.timeout_secs else 0
        return replace(wait)

    def _SendEvent(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if operation.trigger_id is None:
            return self._by_key(operation.project_id, operation, operation.actor.label, value)
        wait = self.by_id(operation.project_id, operation.trigger_id)
        return "not_found" if wait is None else self._settle(wait, operation.payload, operation.actor.label)

    def _SendToCallback(self, operation: Any, value: Any) -> Any:  # noqa: N802
        wait = self.waits.get(self.callbacks.get(operation.token_hash, ""))
        if wait is None:
            return "not_found"
        sent_by = value.trigger.sent_by if isinstance(value, TriggerOutcome) else ""
        return self._settle(self.in_time(wait), operation.payload, sent_by)

    def _SendBatch(self, operation: Any, value: Any) -> Any:  # noqa: N802
        values = value if value is not None else [None] * len(operation.events)
        return [
            self._by_key(operation.project_id, event, operation.actor.label, each)
            for event, each in zip(operation.events, values, strict=True)
        ]

    def _by_key(self, project_id: str, event: Any, label: str, value: Any) -> Any:
        wait = self.newest(project_id, event.event_key)
        known = self._known(project_id, event)
        if known is not None and known.held_until > self.wall:
            if known.status == "held":
                return replace(known)
            met = self.by_id(project_id, known.trigger_id or "")
            return "conflict" if met is None else replace(met)
        if event.hold_secs is not None and (wait is None or wait.status != "waiting"):
            if self._is_full(project_id, event.event_key):
                return "limit_reached"
            held_id = value.held.id if isinstance(value, HeldOutcome) else "(none)"
            kept = self._keep(project_id, event, held_id, "held", None)
            kept.sent_by = label
            return replace(kept)
        if wait is None:
            return "not_found"
        settled = self._settle(wait, event.payload, label)
        if isinstance(settled, Wait) and event.event_id is not None:
            # What is kept is not in the answer; `adopt_delivered` finds its id.
            self._keep(
                project_id,
                event,
                f"delivered:{project_id}:{event.event_key}:{event.event_id}",
                "delivered",
                wait.id,
            )
        return settled

    def _is_full(self, project_id: str, event_key: str) -> bool:
        of_project = [h for h in self.held.values() if h.project_id == project_id and h.status == "held"]
        of_key = [h for h in of_project if h.event_key == event_key]
        return len(of_key) >= HELD_PER_KEY or len(of_project) >= HELD_PER_PROJECT

    def _known(self, project_id: str, event: Any) -> Held | None:
        if event.event_id is None:
            return None
        for held in self.held.values():
            if (held.project_id, held.event_key, held.event_id) == (
                project_id, event.event_key, event.event_id,
            ):  # fmt: skip
                return held
        return None

    def _keep(self, project_id: str, event: Any, held_id: str, status: str, trigger_id: str | None) -> Held:
        old = self._known(project_id, event)
        if old is not None:
            del self.held[old.id]
        held = Held(
            project_id, held_id, event.event_key, event.event_id, status,
            event.payload if status == "held" else None,
            self.now + (event.hold_secs or 86_400) * 1_000_000, trigger_id,
        )  # fmt: skip
        self.held[held_id] = held
        return held

    def _settle(self, wait: Wait, payload: str | None, sent_by: str | None) -> Any:
        """A send to one trigger: settled, an equal resend without effect, or refused."""
        if wait.status == "received" and wait.takes_events and same_json(wait.payload, payload):
            return replace(wait)
        if wait.status != "waiting" or not wait.takes_events:
            return "conflict"
        if not fits(wait.schema, payload):
            return "schema_mismatch"
        self.receive(wait, payload, sent_by)
        return replace(wait)

    def _SendPrefixChunk(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if value is None:
            for trigger_id in operation.ids:
                self.by_id(operation.project_id, trigger_id)
            return "conflict"
        looked = [self.by_id(operation.project_id, trigger_id) for trigger_id in operation.ids]
        waits = [
            wait for wait in looked if wait is not None and wait.status == "waiting" and wait.takes_events
        ]
        settled, refused = [], 0
        for wait in waits:
            if not fits(wait.schema, operation.payload):
                refused += 1
            elif wait.status == "waiting":  # still: of a group one may end the others
                self.receive(wait, operation.payload, operation.actor.label)
                settled.append(wait.id)
        said = [trigger.id for trigger in value.settled]
        if said != settled or value.progress.refused - operation.progress.refused != refused:
            raise Violation(f"a prefix send says it settled {said}, and it had to be {settled}")
        already = self.resolved_by.get(operation.payload, 0)
        self.resolved_by[operation.payload] = already + len(settled)
        return None

    def _ExpireTriggers(self, operation: Any, value: Any) -> Any:  # noqa: N802
        for project_id, trigger_id in operation.ids:
            self.by_id(project_id, trigger_id)
        return None

    def _ExpireHeldEvents(self, operation: Any, value: Any) -> Any:  # noqa: N802
        due = [self.held[held_id] for _, held_id in operation.ids if held_id in self.held]
        for held in due:
            if held.held_until <= self.wall:
                del self.held[held.id]
        return None

    def _DeleteHeldEvent(self, operation: Any, value: Any) -> Any:  # noqa: N802
        held = self.held.get(operation.held_id)
        if held is None or held.project_id != operation.project_id or held.status != "held":
            return "not_found"
        del self.held[held.id]
        return None

    def _DeleteTriggers(self, operation: Any, value: Any) -> Any:  # noqa: N802
        label, deleted = operation.actor.label, 0
        if operation.settled_before > self.wall - DAY_US:
            raise Violation(f"{operation} would delete what is younger than a day")
        for project_id, trigger_id in operation.ids:
            wait = self.by_id(project_id, trigger_id)
            if wait is None or wait.settled_at is None or self.is_needed(wait):
                continue
            if wait.settled_at < operation.settled_before:
                del self.waits[trigger_id]
                deleted += 1
        self.deleted_by[label] = self.deleted_by.get(label, 0) + deleted
        return deleted

    def _DeleteRows(self, operation: Any, value: Any) -> Any:  # noqa: N802
        if operation.table == "idempotency_records":
            for (scope_hash,) in operation.keys:
                kept = self.answered.pop(scope_hash, None)
                if kept is not None and kept.created_at + DAY_US > self.wall:
                    raise Violation("an idempotency record went before its 24 hours were over")
        return None

    def _RecordUnmatched(self, operation: Any, value: Any) -> Any:  # noqa: N802
        return None

    def _SetMark(self, operation: Any, value: Any) -> Any:  # noqa: N802
        overdue = [w for w in self.waits.values() if w.status == "waiting" and w.expires_at < operation.value]
        if overdue:
            raise Violation(f"the mark {operation.value} passes over {overdue[0]}")
        return None
