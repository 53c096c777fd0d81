"""How a workflow run advances, as one would tell it to a child: dictionaries, words and loops, everything
worked out anew each time. What the rules of `narrows.core.workflows` are compared with; written without them.

    a step waits for its turn until everything before it is over
    what is over stays over, unless somebody retries what went wrong
    with the workflow run everything ends
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

OVER = {"completed", "failed", "timed_out", "skipped", "canceled"}
WRONG = {"failed", "timed_out", "canceled"}


class SlowStep(NamedTuple):
    """What of a step's definition matters here. `executes`: it makes something run, else it waits."""

    name: str
    after: tuple[str, ...] = ()
    executes: bool = True
    conditional: bool = False
    on_failure: str = "fail_workflow"
    attempts: int = 1
    has_default: bool = False


class Event(NamedTuple):
    """`what` happened to which step (None: to the workflow run)."""

    what: str
    step: str | None = None
    attempt: int = 1


class Told(Protocol):
    """An event, with whatever else it says."""

    @property
    def what(self) -> str: ...

    @property
    def step(self) -> str | None: ...

    @property
    def attempt(self) -> int: ...


class SlowRun:
    def __init__(self, steps: list[SlowStep], places: int) -> None:
        self.steps = {step.name: step for step in steps}
        self.places = places or len(steps)
        self.now = {step.name: "pending" for step in steps}
        self.run = "running"
        self.closed: set[str] = set()

    # ---- the story ---------------------------------------------------------------------------

    def commit(self, events: Sequence[Told], conditions: dict[str, bool | str]) -> set[str]:
        """All that happens in one commit; answers which steps have to be started."""
        self.closed = set()
        if self.run not in ("running", "paused"):
            return set()
        ending: str | None = None
        went_wrong = []
        for event in events:
            if event.step is None:
                ending = ending or self.happens_to_the_run(event.what)
            elif self.happens(event, event.step):
                went_wrong.append(event.step)
        for name in went_wrong:
            if self.now[name] in WRONG:  # else somebody retried it in the same commit
                consequence = self.consequence(name)
                ending = ending or consequence
        if ending is None:
            while (next_one := self.next_turn()) is not None:
                ending = self.turn(next_one, conditions) or ending
        if ending is None and all(state in OVER for state in self.now.values()):
            ending = "failed" if any(self.counts_as_failure(name) for name in self.now) else "completed"
        if ending is None:
            return self.start()
        self.end(ending)
        return set()

    def happens_to_the_run(self, what: str) -> str | None:
        """How the workflow run ends by it, if it does."""
        if what == "paused" and self.run == "running":
            self.run = "paused"
        elif what == "resumed" and self.run == "paused":
            self.run = "running"
        return what if what in ("canceled", "timed_out") else None

    def happens(self, event: Told, name: str) -> bool:
        """Something happens to a step; whether it went wrong."""
        state, step = self.now[name], self.steps[name]
        if event.what == "skipped":
            if state not in OVER:
                self.close(name)
                self.now[name] = "skipped"
        elif event.what == "retry":
            if state in WRONG:
                self.retry(name)
        elif event.what == "due":
            if state == "delayed":
                self.now[name] = "queued"
        elif state in ("running", "waiting"):
            if event.what == "completed":
                self.now[name] = "completed"
            elif event.what != "canceled" and event.attempt < step.attempts:
                self.now[name] = "delayed"
            elif event.what == "timed_out" and step.has_default:
                self.now[name] = "completed"
            else:
                self.now[name] = event.what
                return True
        return False

    def consequence(self, name: str) -> str | None:
        """Of a step that went wrong: how the workflow run ends by it, if it does."""
        policy = self.steps[name].on_failure
        if policy == "skip_dependents":
            for other in self.now:
                if name in self.all_before(other) and self.now[other] in ("pending", "queued"):
                    self.now[other] = "skipped"
        return "failed" if policy == "fail_workflow" else None

    def next_turn(self) -> str | None:
        """A step that waits for its turn and need not wait any longer."""
        for name, state in self.now.items():
            if state == "pending" and all(self.now[before] in OVER for before in self.steps[name].after):
                return name
        return None

    def turn(self, name: str, conditions: dict[str, bool | str]) -> str | None:
        answer = conditions[name] if self.steps[name].conditional else True
        self.now[name] = (
            {True: "queued", False: "skipped"}.get(answer, "failed") if isinstance(answer, bool) else "failed"
        )
        return self.consequence(name) if self.now[name] == "failed" else None

    def start(self) -> set[str]:
        started: set[str] = set()
        for name, state in self.now.items():
            if state == "queued" and self.run == "running":
                if not self.steps[name].executes:
                    self.now[name] = "waiting"
                    started.add(name)
                elif list(self.now.values()).count("running") < self.places:
                    self.now[name] = "running"
                    started.add(name)
        return started

    def end(self, how: str) -> None:
        self.run = how
        for name, state in self.now.items():
            if state not in OVER:
                self.close(name)
                self.now[name] = "canceled"

    # ---- words -------------------------------------------------------------------------------

    def close(self, name: str) -> None:
        if self.now[name] in ("running", "waiting", "delayed"):
            self.closed.add(name)

    def retry(self, name: str) -> None:
        """It waits for its turn again, and so does whatever was skipped because of it alone."""
        self.now[name] = "pending"
        for other, state in self.now.items():
            blockers = {
                before
                for before in self.all_before(other)
                if self.now[before] in WRONG and self.steps[before].on_failure == "skip_dependents"
            }
            if state == "skipped" and name in self.all_before(other) and not blockers:
                self.now[other] = "pending"

    def all_before(self, name: str) -> set[str]:
        found: set[str] = set()
        for before in self.steps[name].after:
            found |= {before} | self.all_before(before)
        return found

    def counts_as_failure(self, name: str) -> bool:
        return self.now[name] in WRONG and self.steps[name].on_failure != "continue"
