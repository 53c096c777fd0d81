"""What the steps of the model's workflow runs do: runs, waits, pauses, sub-workflows and messages, from their start to
their end, and what they note for the turn (`workflow_turn.py`).

Ids are the server's to give: they are learned from what the database has and the model does not know yet (`Seen`).
"""

from __future__ import annotations

import json
from typing import Any

from tests.simulation.ledger import InATurn
from tests.simulation.run_model import Model
from tests.simulation.run_values import ModelRun
from tests.simulation.values import Violation, Wait, fits
from tests.simulation.workflow_plans import MISSING, member
from tests.simulation.workflow_seen import NOTHING_SEEN, Seen
from tests.simulation.workflow_values import (
    MOST_DEPTH,
    Child,
    Happening,
    ModelMessage,
    ModelStep,
    ModelWorkflowRun,
    StepGroup,
)

END_OF_RUN = {"dead_letter": "failed"}
#: An attempt that is the last one, however many there are.
FINAL = 1_000_000
SECOND_US = 1_000_000
INLINE_PAYLOAD_BYTES = 1_024


class Working(Model):
    """The state that the promises of workflows speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.workflow_runs: dict[str, ModelWorkflowRun] = {}
        self.messages: dict[str, ModelMessage] = {}
        self.seen: Seen = NOTHING_SEEN
        self.hops = 0
        #: The place of the operation in its batch, and what the turns between them find to be over its time.
        self.place = 0
        self.in_a_turn: list[InATurn] = []
        self._notes: dict[str, list[Happening]] = {}
        #: Keys of which another workflow run of the same turn had to be first, or to leave.
        self._doubts: list[tuple[str, str, str]] = []
        self._closed: set[tuple[str, str]] = set()

    # ---- noting ----

    def note(self, run: ModelWorkflowRun, happening: Happening) -> None:
        noted = happening._replace(hops=max(happening.hops, self.hops))
        self._notes.setdefault(run.id, []).append(noted)

    def move(self, run: ModelRun, status: str) -> None:
        super().move(run, status)
        if run.has_ended and run.step is not None:
            workflow_run, ref = run.step
            self.note(workflow_run, Happening(END_OF_RUN.get(status, status), ref, source=run))

    def _follow(self, wait: Wait) -> None:
        group = wait.group
        if not isinstance(group, StepGroup):
            super()._follow(wait)
        elif group.is_decided:
            pass
        elif group.veto or group.is_away:
            self.note(group.run, Happening("judge", group.ref, source=group))
        elif (end := self._judge(group)) is not None:
            self.note(group.run, end._replace(step=group.ref, source=group))
            self._decide(group)

    def _judge(self, group: StepGroup) -> Happening | None:
        """How a wait of a step has ended, None if it has not."""
        received = [wait for wait in group.waits if wait.status == "received"]
        if group.veto and any(member(wait.payload, "veto") is True for wait in received):
            return Happening("failed", attempt=FINAL)
        count = len(received)
        if group.distinct:
            voters = [member(wait.payload, "voter") for wait in received]
            count = len({each for each in voters if isinstance(each, str)})
        if count >= group.needed:
            return Happening("completed")
        statuses = [wait.status for wait in group.waits]
        if count + statuses.count("waiting") >= group.needed:
            return None
        return Happening(next((each for each in ("timed_out", "canceled") if each in statuses), "failed"))

    def _decide(self, group: StepGroup) -> None:
        """Nothing of it stays open."""
        group.is_decided = True
        for wait in group.waits:
            if wait.status == "waiting":
                self.cancel_wait(wait)
                self._closed.add((wait.project_id, wait.event_key))

    # ---- what steps do ----

    def _start(self, run: ModelWorkflowRun, doing: ModelStep) -> None:
        doing.work, doing.child, doing.votes = None, None, []
        kind = doing.plan.type
        if kind == "job":
            self._start_job(run, doing)
        elif kind == "sub_workflow":
            self._start_child(run, doing)
        elif kind in ("sleep", "approval") and not self.has_room(run.project_id, 1):
            self._cannot_start(run, doing, final=False)
        elif kind in ("sleep", "approval"):
            secs = doing.plan.sleep_secs if kind == "sleep" else doing.plan.timeout_secs
            wait = self._closed_wait(run, doing, kind, self._expiry(secs or 0), secs or 0)
            doing.work = StepGroup(run, doing.plan.ref, (wait,))
            wait.group = doing.work
        else:
            self._open(run, doing)

    def _cannot_start(self, run: ModelWorkflowRun, doing: ModelStep, *, final: bool) -> None:
        attempt = FINAL if final else doing.attempt
        self.note(run, Happening("failed", doing.plan.ref, attempt, hops=run.hops))

    def _start_job(self, run: ModelWorkflowRun, doing: ModelStep) -> None:
        plan, payload = doing.plan, json.loads(run.payload or "{}")
        merged = payload if isinstance(payload, dict) else {"payload": payload}
        if plan.takes_m:
            m = member(run.payload, "n")
            if m is MISSING:
                return self._cannot_start(run, doing, final=True)
            merged = {**merged, "m": m}
        merged = {
            **merged, "parent_outputs": {ref: json.loads(run.doings[ref].output or "null") for ref in plan.after}
        }  # fmt: skip
        job = self._job(run.project_id, plan.job)
        if job is None:
            return self._cannot_start(run, doing, final=True)
        row = self.seen.take_run(run.step_id(plan.ref), self.runs)
        if json.loads(row.payload or "null") != merged:
            raise Violation(f"the run of {run.step_id(plan.ref)} was given {row.payload}, and not {merged}")
        made = ModelRun(
            run.project_id, row.id, job, "queued", 0, row.payload, self.now, job.timeout_secs,
            job.max_attempts if plan.max_attempts is None else 1, queued_at=self.now,
            step=(run, plan.ref),
        )  # fmt: skip
        self.runs[made.id] = doing.work = made
        return None

    def _start_child(self, run: ModelWorkflowRun, doing: ModelStep) -> None:
        plan = doing.plan
        if run.depth >= MOST_DEPTH or run.payload is None:
            return self._cannot_start(run, doing, final=True)
        body = {
            "step": list(run.now).index(plan.ref),
            "workflow_slug": plan.workflow,
            "depth": run.depth + 1,
        }
        message = self._send(run, "start_workflow_run", run.id, body, run.payload, run.hops)
        doing.work = doing.child = Child(message.id)
        return None

    def _open(self, run: ModelWorkflowRun, doing: ModelStep) -> None:
        plan, project_id = doing.plan, run.project_id
        keys = [key.filled(run.payload, run.outputs()) for key in plan.keys]
        named = [key for key in keys if key is not None]
        if len(set(named)) < len(keys):
            return self._cannot_start(run, doing, final=True)
        newest = [self.newest(project_id, key) for key in named]
        busy = [wait.event_key for wait in newest if wait is not None and wait.status == "waiting"]
        rows = self.seen.take_group(run.step_id(plan.ref), named, self.waits)
        cannot = bool(busy) or not self.has_room(project_id, len(named))
        if cannot != (rows is None):
            why = f"{run.step_id(plan.ref)}: busy are {busy} of {named}, and opened was {rows}"
            self._doubts += [(project_id, key, why) for key in busy or named[:1]]
        if rows is None:
            return self._cannot_start(run, doing, final=False)
        waits = tuple(
            Wait(
                project_id, row.id, key, 1 if old is None else old.ordinal + 1, 1, "waiting", None, plan.timeout_secs,
                self.now, self._expiry(plan.timeout_secs), None, None, schema=plan.schema,
            )
            for row, key, old in zip(rows, named, newest, strict=True)
        )  # fmt: skip
        doing.work = StepGroup(run, plan.ref, waits, plan.needed, plan.distinct, plan.veto)
        for wait in waits:
            self.waits[wait.id] = wait
            wait.group = doing.work
        for wait in waits:
            self._take_held(wait)
        return None

    def _take_held(self, wait: Wait) -> None:
        for held in self.deliverable(wait.project_id, wait.event_key):
            if wait.status == "waiting" and fits(wait.schema, held.payload):
                if isinstance(wait.group, StepGroup) and wait.group.distinct and held.kept_at != self.now:
                    wait.group.is_away |= len(held.payload or "") > INLINE_PAYLOAD_BYTES
                before, self.hops = self.hops, max(self.hops, held.hops)
                self.receive(wait, held.payload, held.sent_by)
                self.hops = before
                self._deliver(held, wait)
                break

    def _pause(self, run: ModelWorkflowRun, doing: ModelStep) -> None:
        most = _longest_pause_us(doing)
        wait = self._closed_wait(run, doing, "retry", self.now + most, -(-most // SECOND_US))
        least = most if doing.plan.backoff == "fixed" else most // 2
        if not self.now + least <= wait.expires_at <= self.now + most:
            raise Violation(f"{wait} pauses for less than {least} or more than {most}")
        doing.work = wait.group = StepGroup(run, doing.plan.ref, (wait,), is_pause=True)

    def _closed_wait(
        self, run: ModelWorkflowRun, doing: ModelStep, kind: str, expires_at: int, timeout_secs: int
    ) -> Wait:
        """One that no event ends."""
        row = self.seen.take_trigger(run.step_id(doing.plan.ref), f"{kind}:", self.waits)
        if kind == "retry":
            expires_at = row.expires_at
            timeout_secs = -(-(expires_at - self.now) // SECOND_US)
        wait = Wait(
            run.project_id, row.id, row.event_key, 1, 1, "waiting", None, timeout_secs, self.now, expires_at,
            None, None, is_sleep=kind != "approval", is_approval=kind == "approval",
        )  # fmt: skip
        self.waits[wait.id] = wait
        return wait

    def _close(self, run: ModelWorkflowRun, doing: ModelStep) -> None:
        work = doing.work
        if isinstance(work, ModelRun):
            self.run(work.project_id, work.id)  # whose wait may be over by its time
            if not work.has_ended:
                self._cancel_run(work)
        elif isinstance(work, StepGroup):
            for wait in work.waits:
                self.in_time(wait)
            self._decide(work)
        if doing.child is not None:
            self._send(run, "cancel_workflow_run", doing.child.id, {}, None, run.hops)

    def _end(self, run: ModelWorkflowRun) -> None:
        run.finished_at, run.due_at = self.now, None
        if run.parent is None:
            return
        parent_id, _ = run.parent
        result = None
        if run.run == "completed":
            last = [each for each in run.plan.last if run.now[each] == "completed"]
            members = [f'"{each}":{run.doings[each].output or "null"}' for each in last]
            result = f"{{{','.join(members)}}}"
        body = {"child_run_id": run.id, "status": run.run}
        self._send(run, "workflow_run_ended", parent_id, body, result, run.hops)

    def _send(
        self,
        run: ModelWorkflowRun,
        kind: str,
        subject_id: str,
        body: dict[str, Any],
        payload: str | None,
        hops: int,
    ) -> ModelMessage:
        row = self.seen.take_message(run.project_id, kind, subject_id, body, self.messages)
        message = ModelMessage(run.project_id, row.id, kind, subject_id, hops, body, payload)
        self.messages[message.id] = message
        return message


def _longest_pause_us(doing: ModelStep) -> int:
    """After the attempt before `doing.attempt`, which counts the one to come."""
    failed = doing.attempt - 1
    times = {"fixed": 1, "linear": failed}.get(doing.plan.backoff, 2 ** (failed - 1))
    return min(int(times), 300) * SECOND_US
