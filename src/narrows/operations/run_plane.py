"""What a handler asks for its own run, by the token of its dispatch: to wait, to sleep, to end, to keep
something. Whoever performs these has checked the token; here its dispatch is fenced.

A call that ends the dispatch keeps its first answer (`RunAnswer`), so that a repeat after a broken
connection is told the same, also when the run has long gone on.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from narrows.core import runs as rules
from narrows.core import triggers as trigger_rules
from narrows.core.records import Trigger
from narrows.core.run_records import Run, RunAnswer, WaitGroup
from narrows.core.states import FactKind, GroupMode, OnEnd, RunCall, TriggerType
from narrows.core.waits import needed
from narrows.errors import Conflict, Gone, InvalidRequest, LimitReached
from narrows.operations.base import Answers
from narrows.operations.dispatch import complete, fail
from narrows.operations.opening import (
    Wanted,
    check_free,
    check_room,
    first_fitting,
    open_wait,
    opening_touches,
    take,
)
from narrows.operations.waits import find_run, keep_text, run_touches
from narrows.storage.following import begin_root
from narrows.storage.lookups import Touch
from narrows.storage.transaction import Transaction

#: How often one run may log, report progress and save a checkpoint, all together.
MAX_CHANGES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOperation:
    """Root of the run plane: one run, and the number of the dispatch that asks."""

    background: ClassVar[bool] = False

    project_id: str
    run_id: str
    dispatch: int
    entropy: int

    @property
    def size_bytes(self) -> int:
        return 0

    @property
    def actor_label(self) -> str:
        return f"run:{self.run_id}"

    def touches(self) -> list[Touch]:
        return [("runs_by_id", self.project_id, self.run_id)]

    def current(self, tx: Transaction) -> Run:
        """The run, executed by this very dispatch. Raises NotFound, and as `check_dispatch`."""
        run = find_run(tx, self.project_id, self.run_id)
        check_dispatch(run, self.dispatch)
        return run


def check_dispatch(run: Run, dispatch: int) -> None:
    """Raise Gone if the run has ended, Conflict if it is no longer this dispatch's."""
    if rules.has_ended(run):
        raise Gone(f"The run {run.id} is {run.status}. Stop working on it.")
    if run.dispatch != dispatch:
        raise Conflict(
            f"This token is of dispatch {dispatch} of the run {run.id}; it has been dispatched "
            "again since. Stop working on it."
        )
    if not rules.is_executing(run):
        raise Conflict(f"The run {run.id} is {run.status}: this dispatch of it is over. Stop working on it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingOperation(RunOperation):
    """A call that ends its dispatch. `body_hash` tells a repeat from another request."""

    call: ClassVar[RunCall]

    body_hash: str

    def touches(self) -> list[Touch]:
        return [
            *run_touches(self.project_id, self.run_id),
            ("run_answers_by_dispatch", self.project_id, self.run_id, str(self.dispatch)),
        ]

    def apply(self, tx: Transaction) -> Any:
        earlier = tx.run_answer(self.project_id, self.run_id, self.dispatch)
        if earlier is not None:
            return self.outcome(self._repeat(tx, earlier))
        reply = self.end(tx, self.current(tx))
        text = json.dumps(reply, ensure_ascii=False, separators=(",", ":"))
        tx.save(
            RunAnswer(self.project_id, self.run_id, self.dispatch, self.call, self.body_hash, text, tx.now)
        )
        return self.outcome(reply)

    def _repeat(self, tx: Transaction, earlier: RunAnswer) -> Any:
        if earlier.call == self.call and earlier.body_hash == self.body_hash:
            return json.loads(earlier.reply)
        run = self.current(tx)  # says why, unless the run is this dispatch's still, which cannot be
        raise Conflict(f"This dispatch of the run {run.id} ended already by {earlier.call!r}.")

    @abstractmethod
    def end(self, tx: Transaction, run: Run) -> Any:
        """End the dispatch; answers what is kept as its answer (JSON)."""

    def outcome(self, reply: Any) -> Any:
        """What the caller gets, of a first answer and of a repeated one alike."""
        return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRun(EndingOperation):
    """The run is done; `result` is a JSON text. Answers the run's status."""

    call: ClassVar[RunCall] = RunCall.COMPLETE

    result: str | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.result or "")

    def end(self, tx: Transaction, run: Run) -> str:
        return str(complete(tx, run, self.result, self.actor_label, self.entropy).status)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailRun(EndingOperation):
    """This attempt has failed; with `retry` it is tried again as long as attempts are left. Answers the
    run's status."""

    call: ClassVar[RunCall] = RunCall.FAIL

    error: str
    retry: bool = True

    def end(self, tx: Transaction, run: Run) -> str:
        failed = fail(tx, run, self.error, self.actor_label, self.entropy, retry=self.retry)
        return str(failed.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRun(EndingOperation):
    """Give the run back unfinished: queued again, no attempt counted. Answers the run's status."""

    call: ClassVar[RunCall] = RunCall.RELEASE

    def end(self, tx: Transaction, run: Run) -> str:
        released = rules.release(run)
        return str(tx.advance_run(released, FactKind.RUN_RELEASED, self.actor_label, self.entropy).status)


# ---- waiting -----------------------------------------------------------------------------------


class Granted(NamedTuple):
    """One wait that the run was granted; `expires_at` in microseconds."""

    event_key: str
    expires_at: int
    trigger_id: str


class WaitOutcome(NamedTuple):
    waits: tuple[Granted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingOperation(EndingOperation):
    """Sets the run down until its wait group is over."""

    def outcome(self, reply: Any) -> WaitOutcome:
        return WaitOutcome(tuple(Granted(*each) for each in reply))

    def set_down(
        self,
        tx: Transaction,
        run: Run,
        triggers: list[Trigger],
        group_id: str,
        mode: GroupMode,
        count: int,
        on_timeout: OnEnd,
        on_cancel: OnEnd,
    ) -> list[Granted]:
        """Bind the open triggers to the run, which waits from now on."""
        begin_root(tx, run)
        ids = json.dumps([trigger.id for trigger in triggers], separators=(",", ":"))
        group = WaitGroup(
            run.project_id, group_id, run.root_id, run.id, mode, count, ids, on_timeout, on_cancel, tx.now
        )
        tx.save(group)
        detail = json.dumps({"event_keys": [each.event_key for each in triggers][:10]}, ensure_ascii=False)
        waiting = rules.wait(run, group_id)
        tx.advance_run(waiting, FactKind.RUN_WAITING, self.actor_label, self.entropy, detail)
        return [Granted(each.event_key, each.expires_at, each.id) for each in triggers]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForEvents(WaitingOperation):
    """Wait for one event, or for any, all or `count` of several. A held event counts at once.

    Raises Conflict (a key is waiting), InvalidRequest, LimitReached.
    """

    call: ClassVar[RunCall] = RunCall.WAIT

    events: tuple[Wanted, ...]
    mode: GroupMode = GroupMode.ANY
    count: int | None = None
    on_timeout: OnEnd = OnEnd.END
    on_cancel: OnEnd = OnEnd.END
    answers: Answers = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(wanted.size_bytes for wanted in self.events)

    def answered(self, answers: Answers) -> WaitForEvents:
        return replace(self, answers={**self.answers, **answers})

    def touches(self) -> list[Touch]:
        keys = [wanted.event_key for wanted in self.events]
        return [*super(WaitForEvents, self).touches(), *opening_touches(self.project_id, keys)]

    def end(self, tx: Transaction, run: Run) -> list[Granted]:
        self._check(tx)
        held = first_fitting(tx, self.project_id, self.events, self.answers)
        group_id = tx.new_id(self.entropy)
        triggers = [
            open_wait(
                tx,
                self.project_id,
                wanted,
                self.actor_label,
                self.entropy,
                run=run,
                wait_group_id=group_id,
            )
            for wanted in self.events
        ]
        count = needed(self.mode, self.count, len(triggers))
        granted = self.set_down(
            tx, run, triggers, group_id, self.mode, count, self.on_timeout, self.on_cancel
        )
        for opened, event in zip(triggers, held, strict=True):
            trigger = tx.trigger(opened.project_id, opened.id)
            # One that came before it may have ended the wait of all of them.
            if event is not None and trigger is not None and trigger_rules.is_waiting(trigger):
                take(tx, trigger, event, self.entropy)
        return granted

    def _check(self, tx: Transaction) -> None:
        keys = [wanted.event_key for wanted in self.events]
        if len(set(keys)) < len(keys):
            raise InvalidRequest("A key stands twice among the events; each may be waited for once.")
        for event_key in keys:
            check_free(tx, self.project_id, event_key)
        check_room(tx, self.project_id, len(keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepRun(WaitingOperation):
    """Go on after `duration_secs`; no event can end a sleep."""

    call: ClassVar[RunCall] = RunCall.SLEEP

    duration_secs: int

    def touches(self) -> list[Touch]:
        return [
            *super(SleepRun, self).touches(),
            *opening_touches(self.project_id, (self._event_key,)),
        ]

    @property
    def _event_key(self) -> str:
        return f"sleep:{self.run_id}:{self.dispatch}"

    def end(self, tx: Transaction, run: Run) -> list[Granted]:
        check_free(tx, self.project_id, self._event_key)
        check_room(tx, self.project_id)
        group_id = tx.new_id(self.entropy)
        trigger = open_wait(
            tx,
            self.project_id,
            Wanted(self._event_key, self.duration_secs),
            self.actor_label,
            self.entropy,
            trigger_type=TriggerType.SLEEP,
            run=run,
            wait_group_id=group_id,
        )
        if not self.duration_secs:  # of a wait, 0 would mean for ever
            trigger = trigger._replace(expires_at=tx.now)
            tx.save(trigger)
        granted = self.set_down(tx, run, [trigger], group_id, GroupMode.ALL, 1, OnEnd.RESUME, OnEnd.END)
        if not self.duration_secs:
            tx.advance(*trigger_rules.come_due(trigger, tx.now), "engine", self.entropy)
        return granted


# ---- what leaves the dispatch running ------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(RunOperation):
    """Renew the lease; answers the run."""

    lease_us: int

    def apply(self, tx: Transaction) -> Run:
        run = rules.renew(self.current(tx), self.lease_us, tx.now)
        tx.save(run)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class NotingOperation(RunOperation):
    """Notes something in the run and in its timeline."""

    def current(self, tx: Transaction) -> Run:
        run = super(NotingOperation, self).current(tx)
        if run.version >= MAX_CHANGES:
            raise LimitReached(f"The run {run.id} has noted {MAX_CHANGES:,} things, the most allowed.")
        return run

    def note(
        self, tx: Transaction, run: Run, kind: FactKind, detail: str | None = None, **changes: Any
    ) -> Run:
        changed = run._replace(version=run.version + 1, **changes)
        return tx.advance_run(changed, kind, self.actor_label, self.entropy, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveCheckpoint(NotingOperation):
    """Keep `state`, a JSON text, for later dispatches, in place of what was kept before."""

    state: str

    @property
    def size_bytes(self) -> int:
        return len(self.state)

    def apply(self, tx: Transaction) -> Run:
        run = self.current(tx)
        state_id = keep_text(tx, run.project_id, self.state, self.entropy)
        noted = self.note(tx, run, FactKind.RUN_CHECKPOINTED, state=self.state, state_id=state_id)
        tx.release_payload(run.project_id, run.state_id)
        return noted


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine(NotingOperation):
    level: str
    message: str

    def apply(self, tx: Transaction) -> Run:
        detail = json.dumps({"level": self.level, "message": self.message}, ensure_ascii=False)
        return self.note(tx, self.current(tx), FactKind.RUN_LOGGED, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveProgress(NotingOperation):
    percent: float | None = None
    message: str | None = None

    def apply(self, tx: Transaction) -> Run:
        given = {"percent": self.percent, "message": self.message}
        progress = json.dumps({name: value for name, value in given.items() if value is not None})
        return self.note(tx, self.current(tx), FactKind.RUN_PROGRESSED, progress, progress=progress)
