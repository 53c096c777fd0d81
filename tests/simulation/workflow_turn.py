"""How the model's workflow runs go on: what a batch has brought is noted while its operations come by, and taken in at its
end, or before somebody looks. The slow reference says what becomes of the steps; what they do is in
`workflow_work.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.simulation.run_values import ModelRun
from tests.simulation.values import Violation
from tests.simulation.workflow_plans import MISSING, member
from tests.simulation.workflow_values import (
    MOST_HOPS,
    Child,
    Happening,
    ModelStep,
    ModelWorkflowRun,
    StepGroup,
)
from tests.simulation.workflow_work import FINAL, Working


class Turning(Working):
    """The turn."""

    def see_advanced(self, run: ModelWorkflowRun) -> None:
        """Somebody looks at it: what was noted before is taken in first."""
        if run.id in self._notes:
            self.turn()

    # ---- the turn ----

    def look_at_the_clock(self, over: str) -> None:
        """A wait or a workflow run is over its time, and somebody has looked at it."""
        wait, run = self.waits.get(over), self.workflow_runs.get(over)
        if wait is not None and self.in_time(wait).status != "waiting":
            return
        if run is None or run.due_at is None or run.due_at > self.wall:
            raise Violation(f"{over} was settled by the clock, and the model has {wait or run}")
        self.note(run, Happening("timed_out"))

    def turn(self) -> None:
        turn_round = 0
        while self._notes:
            turn_round += 1
            taken, self._notes = self._notes, {}
            runs = [self.workflow_runs[run_id] for run_id in taken]
            for run in runs:
                if run.due_at is not None and run.due_at <= self.wall:
                    # However late anybody sees it, it was so before anything else happened.
                    taken[run.id].insert(0, Happening("timed_out"))
            for each in self.in_a_turn:
                if (each.place, each.turn_round) == (self.place, turn_round) and each.id not in taken:
                    self.look_at_the_clock(each.id)
            for run in sorted(runs, key=self._first_to_open):
                if not run.has_ended:
                    self._advance(run, taken[run.id])
        for project_id, event_key, why in self._doubts:
            if (project_id, event_key) not in self._closed:
                raise Violation(why)
        self._doubts, self._closed = [], set()

    def _first_to_open(self, run: ModelWorkflowRun) -> str:
        """Which of several comes first under a key is chance: it is told by the ids of what they opened."""
        return min((row.id for row in self.seen.triggers_of(run.id) if row.id not in self.waits), default="~")

    def _advance(self, run: ModelWorkflowRun, notes: Sequence[Happening]) -> None:
        hops = max(run.hops, *(note.hops for note in notes))
        happenings = self._take_in(run, notes, hops)
        if not happenings:
            return
        before = {**run.now, "": run.run}
        run.completing, run.delaying = [], []
        started = run.commit(happenings, run.answers())
        if {**run.now, "": run.run} == before:
            return
        run.hops = hops
        for ref, event in run.completing:
            if event.emit is not None:
                said = {"sent_by": f"step:{run.step_id(ref)}"}
                self._send(run, "emit_event", event.emit, said, run.doings[ref].output, hops + 1)
        for ref in run.delaying:
            self._pause(run, run.doings[ref])
        for ref in run.closed:
            self._close(run, run.doings[ref])
        for ref in [each for each in run.now if each in started]:
            self._start(run, run.doings[ref])
        if run.has_ended:
            self._end(run)

    def _take_in(self, run: ModelWorkflowRun, notes: Sequence[Happening], hops: int) -> list[Happening]:
        found: list[Happening] = []
        told: set[str] = set()
        for note in notes:
            if note.step is None:
                found.append(note)
                continue
            doing, state = run.doings[note.step], run.now[note.step]
            if note.source is None:
                found.append(note)
            elif note.source is not doing.work:
                continue
            elif state == "delayed":
                found.append(Happening("due", note.step))
            elif state in ("running", "waiting") and note.step not in told:
                if (end := self._end_of(doing, note)) is not None:
                    told.add(note.step)
                    found.append(end)
        outputs = {**run.outputs(), **{each.step: each.output for each in found if each.step in told}}
        return [self._with_key(run, each, outputs, hops) if each.step in told else each for each in found]

    def _end_of(self, doing: ModelStep, note: Happening) -> Happening | None:
        """How the work of a step has ended, with its output."""
        end: Happening | None = note
        if note.what == "judge":
            assert isinstance(note.source, StepGroup)
            note.source.is_away = False
            end = self._judge(note.source)
            if end is not None:
                end = end._replace(step=note.step, source=note.source)
                self._decide(note.source)
        if end is None:
            return None
        end = end._replace(attempt=max(end.attempt, doing.attempt))
        if not _completes(doing, end):
            return end
        output = doing.plan.default if end.what == "timed_out" else self._output(doing, note)
        if doing.plan.takes_n and end.what == "completed":
            n = member(output, "n")
            if n is MISSING:
                return end._replace(what="failed", attempt=FINAL)
            output = json.dumps(n, separators=(",", ":"))
        return end._replace(output=output)

    def _output(self, doing: ModelStep, note: Happening) -> str | None:
        if isinstance(note.source, ModelRun):
            return note.source.result
        if isinstance(note.source, Child):
            return note.output
        assert isinstance(note.source, StepGroup)
        waits = note.source.waits
        if doing.plan.is_group:
            events = [
                f'{{"event_key":{json.dumps(wait.event_key)},"payload":{wait.payload or "null"}}}'
                for wait in waits
                if wait.status == "received"
            ]
            return f'{{"events":[{",".join(events)}]}}'
        return None if doing.plan.type == "sleep" else waits[0].payload

    def _with_key(
        self, run: ModelWorkflowRun, end: Happening, outputs: dict[Any, str | None], hops: int
    ) -> Happening:
        doing = run.doings[end.step or ""]
        if doing.plan.emit is None or not _completes(doing, end):
            return end
        key = doing.plan.emit.filled(run.payload, outputs)
        if key is None or hops >= MOST_HOPS:
            return end._replace(what="failed", attempt=FINAL, output=None)
        return end._replace(emit=key)


def _completes(doing: ModelStep, end: Happening) -> bool:
    if end.what == "timed_out" and doing.plan.default is not None:
        return end.attempt >= doing.plan.attempts
    return end.what == "completed"
