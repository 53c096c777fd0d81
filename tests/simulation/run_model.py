"""What Narrows promises of runs, as the plainest program: see `model.py`, of which this is the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from narrows.storage.committed import Handed
from tests.simulation.model import WaitModel
from tests.simulation.run_values import SECOND_US, Group, Job, ModelRun, Said
from tests.simulation.values import Violation, Wait, fits

MOST_PAUSE_SECS = 300


class Model(WaitModel):
    """The state that all promises speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}
        self.runs: dict[str, ModelRun] = {}
        #: (run, dispatch) -> the call that ended it, its body, its answer.
        self.answers: dict[tuple[str, int], tuple[str, str, Any]] = {}
        #: Of jobs without a limit: the run, whether it was pushed, since when it was queued, when it was not.
        self.handed_out: list[tuple[str, bool, int, int]] = []

    # ---- looking ----

    def run(self, project_id: str, run_id: str) -> ModelRun | None:
        """The run, after what the time has brought to what it waits for."""
        run = self.runs.get(run_id)
        if run is None or run.project_id != project_id:
            return None
        if run.status == "waiting" and run.group is not None:
            for wait in run.group.waits:
                self.in_time(wait)
        return run

    def is_needed(self, wait: Wait) -> bool:
        """By its run, as long as that lives, or by a live one that goes on from it."""
        if wait.needed or wait.group is None:
            return wait.needed
        return not wait.group.run.has_ended or any(
            run.group is wait.group and run.replay_of is not None and not run.has_ended
            for run in self.runs.values()
        )

    def executing(self, job: Job) -> int:
        return sum(run.job is job and run.status == "executing" for run in self.runs.values())

    def _job(self, project_id: str, name: str) -> Job | None:
        for job in self.jobs.values():
            if job.project_id == project_id and name in (job.slug, job.id) and not job.is_deleted:
                return job
        return None

    # ---- jobs ----

    def _CreateJob(self, operation: Any, value: Any) -> Any:  # noqa: N802 - named after the operation
        if self._job(operation.project_id, operation.slug) is not None:
            return "conflict"
        self.jobs[value.id] = Job(
            operation.project_id, value.id, operation.slug, operation.endpoint_url is not None,
            operation.timeout_secs, operation.max_attempts, operation.max_concurrency,
        )  # fmt: skip
        return None

    def _DeleteJob(self, operation: Any, value: Any) -> Any:  # noqa: N802
        job = self._job(operation.project_id, operation.job)
        if job is None:
            return "not_found"
        live = [run for run in self.runs.values() if run.job is job and not run.has_ended]
        if value is not None and not operation.cancel_runs:
            # None is left, perhaps since another operation of the batch looked at a wait whose time had passed.
            live = [run for run in live if self.run(run.project_id, run.id) and not run.has_ended]
        if live and not operation.cancel_runs:
            return "conflict"
        job.is_deleted = True
        return None

    def _CancelRunsOfJob(self, operation: Any, value: Any) -> Any:  # noqa: N802
        runs = [self.run(operation.message.project_id, run_id) for run_id in operation.run_ids]
        live = [run for run in runs if run is not None and not run.has_ended]
        if value not in (0, len(live)):
            raise Violation(f"{operation} says it canceled {value}, and there were {live}")
        for run in live if value else ():
            if run.job.id != operation.message.subject_id or not run.job.is_deleted:
                raise Violation(f"{operation} cancels {run}, whose job is there")
            self._cancel_run(run)
        return value

    # ---- starting and ending ----

    def _TriggerJob(self, operation: Any, value: Any) -> Any:  # noqa: N802
        job = self._job(operation.project_id, operation.job)
        if job is None:
            return "not_found"
        at = operation.scheduled_at
        delayed = at is not None and at > self.wall
        run = ModelRun(
            operation.project_id, value.id, job, "delayed" if delayed else "queued", operation.priority,
            operation.payload, self.now, job.timeout_secs, job.max_attempts,
            due_at=at if delayed else None, queued_at=self.now,
        )  # fmt: skip
        return self._made(run)

    def _made(self, run: ModelRun) -> ModelRun:
        if run.id in self.runs:
            raise Violation(f"the id {run.id} was given twice")
        self.runs[run.id] = run
        return replace(run)

    def _CancelRun(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run = self.run(operation.project_id, operation.run_id)
        if run is None:
            return "not_found"
        if run.has_ended:
            return "conflict"
        self._cancel_run(run)
        return replace(run)

    def _cancel_run(self, run: ModelRun) -> None:
        waits = run.group.waits if run.status == "waiting" and run.group is not None else ()
        self.move(run, "canceled")
        for wait in waits:
            if wait.status == "waiting":
                self.cancel_wait(wait)

    def _ReplayRun(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run = self.run(operation.project_id, operation.run_id)
        if run is None:
            return "not_found"
        if not run.has_ended or run.status == "completed" or run.job.is_deleted:
            return "conflict"
        again = ModelRun(
            run.project_id, value.id, run.job, "queued", run.priority, run.payload, self.now,
            run.timeout_secs, run.max_attempts, state=run.state, replay_of=run.id, group=run.group, queued_at=self.now,
        )  # fmt: skip
        return self._made(again)

    def _DeleteRuns(self, operation: Any, value: Any) -> Any:  # noqa: N802
        for project_id, run_id in operation.ids:
            run = self.run(project_id, run_id)
            if run is not None and run.finished_at is not None:
                if run.finished_at < operation.finished_before:
                    del self.runs[run_id]
                    self.answers = {key: each for key, each in self.answers.items() if key[0] != run_id}
        return None

    # ---- handing out ----

    def _ClaimRuns(self, operation: Any, value: Any) -> Any:  # noqa: N802
        for claim, granted in zip(operation.claims, value, strict=True):
            for run in granted:
                self._hand_out(claim, run)
            left = self._next_of(claim)
            if len(granted) < claim.limit and left is not None:
                raise Violation(f"{claim} got {len(granted)} runs, and {left} lies queued")
        return None

    def hand_out(self, handed: Sequence[Handed]) -> None:
        """What the commit itself gave to those who waited."""
        for each in handed:
            for run in each.runs:
                self._hand_out(each.reservation.claim, run)

    def _next_of(self, claim: Any) -> ModelRun | None:
        """The queued run that is to be handed out next."""
        queued = [
            run
            for run in self.runs.values()
            if run.status == "queued" and run.job.id in claim.job_ids and run.project_id == claim.project_id
        ]
        room: dict[str, bool] = {}
        for job in {run.job.id: run.job for run in queued}.values():
            most = job.max_concurrency
            room[job.id] = not job.is_deleted and (most is None or self.executing(job) < most)
        return min((run for run in queued if room[run.job.id]), key=lambda run: run.place, default=None)

    def _hand_out(self, claim: Any, granted: Any) -> None:
        run = self.run(granted.project_id, granted.id)
        first = self._next_of(claim)
        if run is None or first is not run:
            raise Violation(f"{claim} was granted {run}, and the next in the queue was {first}")
        if run.job.max_concurrency is None:
            self.handed_out.append((run.id, run.job.is_pushed, run.queued_at, self.now))
        self.move(run, "executing")
        run.dispatch += 1
        run.holder, run.dispatched_at = claim.holder, self.now
        run.due_at = min(self.now + claim.lease_us, run.deadline)
        if (problem := self.differs(run, granted)) is not None:
            raise Violation(problem)

    def _is_of(self, run: ModelRun | None, dispatch: int) -> bool:
        return run is not None and run.status == "executing" and run.dispatch == dispatch

    def _renew(self, run: ModelRun, lease_us: int) -> None:
        run.due_at = max(run.due_at or 0, min(self.now + lease_us, run.deadline))

    def _RenewLeases(self, operation: Any, value: Any) -> Any:  # noqa: N802
        answers = []
        for project_id, run_id, dispatch in operation.leases:
            run = self.run(project_id, run_id)
            is_of = self._is_of(run, dispatch)
            answers.append(is_of)
            if run is not None and is_of:
                self._renew(run, operation.lease_us)
        return tuple(answers)

    def _WakeRuns(self, operation: Any, value: Any) -> Any:  # noqa: N802
        due = 0
        for key in operation.ids:
            run = self.run(*key)
            if run is None or run.pause is not None or run.due_at is None or run.due_at > self.wall:
                continue
            due += 1
            if run.status == "delayed":
                self.move(run, "queued")
            elif run.attempt >= run.max_attempts:
                self.move(run, "dead_letter")
            elif self.wall >= run.deadline:
                self._fail(run, retry=True, retry_after_secs=None)
            else:
                self.move(run, "queued")
                run.attempt += 1
        return due

    def _TakeBackDispatches(self, operation: Any, value: Any) -> Any:  # noqa: N802
        queued = 0
        for key in operation.ids:
            run = self.run(*key)
            if run is None or run.status != "executing" or run.holder == operation.holder:
                continue
            if (run.holder or "").startswith("server:"):
                self.move(run, "queued")
                queued += 1
            else:
                self._renew(run, operation.grace_us)
        return queued

    # ---- how a dispatch ends ----

    def _complete(self, run: ModelRun, result: str | None) -> None:
        self.move(run, "completed")
        run.result = result

    def _fail(self, run: ModelRun, *, retry: bool, retry_after_secs: int | None) -> None:
        if not retry:
            self.move(run, "failed")
        elif run.attempt >= run.max_attempts:
            self.move(run, "dead_letter")
        else:
            whole_us = min(MOST_PAUSE_SECS, 2 ** (run.attempt - 1)) * SECOND_US
            asked_us = min(retry_after_secs or 0, 3_600) * SECOND_US
            self.move(run, "delayed")
            run.pause = (self.now + max(whole_us // 2, asked_us), self.now + max(whole_us, asked_us))
            run.attempt += 1

    def _FinishDispatch(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run, result = self.run(operation.project_id, operation.run_id), operation.result
        if run is None or not self._is_of(run, operation.dispatch):
            return Said(None)
        if result.completed:
            self._complete(run, result.result)
        else:
            self._fail(run, retry=result.retry, retry_after_secs=result.retry_after_secs)
        return replace(run)

    def _current(self, operation: Any) -> Any:
        """The run if this dispatch executes it, else the code of the refusal."""
        run = self.run(operation.project_id, operation.run_id)
        if run is None:
            return "not_found"
        if run.has_ended:
            return "gone"
        return run if self._is_of(run, operation.dispatch) else "conflict"

    def _ending(self, operation: Any, value: Any) -> Any:
        """A call that ends its dispatch: its first answer always, to the same call again."""
        call, key = type(operation).__name__, (operation.run_id, operation.dispatch)
        run = self._current(operation)
        if key in self.answers:
            first_call, body_hash, answer = self.answers[key]
            if (first_call, body_hash) == (call, operation.body_hash):
                return Said(answer)
            return run if isinstance(run, str) else "conflict"
        if isinstance(run, str):
            return run
        answer = getattr(self, f"_end_by_{call}")(run, operation, value)
        if isinstance(answer, Said):
            self.answers[key] = (call, operation.body_hash, answer.value)
        return answer

    _CompleteRun = _FailRun = _ReleaseRun = _WaitForEvents = _SleepRun = _ending

    def _end_by_CompleteRun(self, run: ModelRun, operation: Any, value: Any) -> Any:  # noqa: N802
        self._complete(run, operation.result)
        return Said("completed")

    def _end_by_FailRun(self, run: ModelRun, operation: Any, value: Any) -> Any:  # noqa: N802
        self._fail(run, retry=operation.retry, retry_after_secs=None)
        return Said(run.status)

    def _end_by_ReleaseRun(self, run: ModelRun, operation: Any, value: Any) -> Any:  # noqa: N802
        self.move(run, "queued")
        return Said("queued")

    def _end_by_WaitForEvents(self, run: ModelRun, operation: Any, value: Any) -> Any:  # noqa: N802
        keys = [wanted.event_key for wanted in operation.events]
        if len(set(keys)) < len(keys):
            return "invalid_request"
        newest = [self.newest(run.project_id, event_key) for event_key in keys]
        if any(wait is not None and wait.status == "waiting" for wait in newest):
            return "conflict"
        if not self.has_room(run.project_id, len(keys)):
            return "limit_reached"
        if value is None:
            return "(a wait)"
        waits = tuple(
            self._opened(run, wanted, granted, ordinal=1 if old is None else old.ordinal + 1)
            for wanted, granted, old in zip(operation.events, value.waits, newest, strict=True)
        )
        needed = {"any": 1, "all": len(waits)}.get(operation.mode, operation.count or len(waits))
        self._set_down(run, Group(run, waits, needed, operation.on_timeout, operation.on_cancel))
        said = Said((tuple((wait.event_key, wait.expires_at, wait.id) for wait in waits),))
        for wait, wanted in zip(waits, operation.events, strict=True):
            if wanted.callback_token_hash:
                self.callbacks[wanted.callback_token_hash] = wait.id
            for held in self.deliverable(run.project_id, wait.event_key):
                if wait.status == "waiting" and fits(wait.schema, held.payload):
                    self.receive(wait, held.payload, held.sent_by)
                    self._deliver(held, wait)
                    break
        return said

    def _end_by_SleepRun(self, run: ModelRun, operation: Any, value: Any) -> Any:  # noqa: N802
        if not self.has_room(run.project_id, 1):
            return "limit_reached"
        granted = value.waits[0]
        event_key = f"sleep:{run.id}:{run.dispatch}"
        wait = Wait(
            run.project_id, granted.trigger_id, event_key, 1, 1, "waiting", None, operation.duration_secs,
            self.now, self.now + operation.duration_secs * SECOND_US, None, None, is_sleep=True,
        )  # fmt: skip
        self.waits[wait.id] = wait
        self._set_down(run, Group(run, (wait,), 1, "resume", "end"))
        if not operation.duration_secs:
            self.time_out(wait)
        return Said((((event_key, wait.expires_at, wait.id),),))

    def _opened(self, run: ModelRun, wanted: Any, granted: Any, *, ordinal: int) -> Wait:
        if granted.trigger_id in self.waits:
            raise Violation(f"the id {granted.trigger_id} was given twice")
        wait = Wait(
            run.project_id, granted.trigger_id, wanted.event_key, ordinal, 1, "waiting", None,
            wanted.timeout_secs, self.now, self._expiry(wanted.timeout_secs), None, None,
            schema=wanted.expected_schema,
        )  # fmt: skip
        self.waits[wait.id] = wait
        return wait

    def _set_down(self, run: ModelRun, group: Group) -> None:
        for wait in group.waits:
            wait.group = group
        run.group = group
        self.move(run, "waiting")

    # ---- what leaves the dispatch running ----

    def _Heartbeat(self, operation: Any, value: Any) -> Any:  # noqa: N802
        run = self._current(operation)
        if isinstance(run, str):
            return run
        self._renew(run, operation.lease_us)
        return replace(run)

    def _note(self, operation: Any, value: Any) -> Any:
        run = self._current(operation)
        if isinstance(run, str):
            return run
        run.version += 1
        run.state = getattr(operation, "state", run.state)
        return replace(run)

    _SaveCheckpoint = _LogLine = _SaveProgress = _note

    # ---- comparing ----

    def differs(self, expected: Any, came: Any) -> str | None:
        if not isinstance(expected, ModelRun) or not hasattr(came, "dispatch"):
            return super().differs(expected, came)
        said = (came.project_id, came.id, came.status, came.version, came.attempt, came.dispatch)
        run = expected
        meant = (run.project_id, run.id, run.status, run.version, run.attempt, run.dispatch)
        return None if said == meant else f"answered {said}, expected {meant}"
