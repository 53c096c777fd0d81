"""The values that the model of the simulation works with for workflows: a workflow run told by the slow reference, and
beside it what each of its steps does. Written from the contract and not from the code under test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.core.slow_workflows import OVER, SlowRun
from tests.simulation.run_values import ModelRun
from tests.simulation.values import Wait
from tests.simulation.workflow_plans import Answer, Plan, StepPlan

ENDED_RUN = ("completed", "failed", "timed_out", "canceled")
MOST_DEPTH = 10
MOST_HOPS = 100


class Happening(NamedTuple):
    """What the slow reference takes as an event, with what comes of it beside the state: the `output` of what completes,
    the key that it emits to. `source` is whose end it is: a run, a group, a sub-workflow; None if somebody decided it."""

    what: str
    step: str | None = None
    attempt: int = 1
    source: Any = None
    output: str | None = None
    emit: str | None = None
    hops: int = 0


@dataclass(slots=True, eq=False)
class StepGroup:
    """What a step waits for. With a veto it is judged at the end of a batch. `is_pause`: the time between two attempts."""

    run: ModelWorkflowRun = field(repr=False)
    ref: str
    waits: tuple[Wait, ...] = field(repr=False)
    needed: int = 1
    distinct: bool = False
    veto: bool = False
    is_pause: bool = False
    is_decided: bool = False
    #: A large event that was held before this commit has to be loaded before it can be looked into: then it is judged like
    #: one with a veto.
    is_away: bool = False


@dataclass(slots=True, eq=False)
class Child:
    """A sub-workflow: the id is that of the message that starts it, and then of its run."""

    id: str


@dataclass(slots=True, eq=False)
class ModelMessage:
    project_id: str
    id: str
    kind: str
    subject_id: str
    hops: int
    body: Mapping[str, Any]
    payload: str | None = None

    def row(self) -> tuple[Any, ...]:
        """As `DUMP_MESSAGES` shows it, but for its body and payload."""
        return self.project_id, self.id, self.kind, self.subject_id, self.hops


@dataclass(slots=True)
class Vote:
    approver: str
    approves: bool
    comment: str | None


@dataclass(slots=True, eq=False)
class ModelStep:
    """What a step of a workflow run does beside its state."""

    plan: StepPlan
    attempt: int = 1
    output: str | None = None
    votes: list[Vote] = field(default_factory=list)
    work: ModelRun | StepGroup | Child | None = None
    #: Of the newest start, also while the step pauses after it.
    child: Child | None = None
    #: What the database and the model had when they were compared last.
    looked_at: Any = None


@dataclass(slots=True)
class ModelWorkflow:
    project_id: str
    id: str
    plan: Plan
    version: int = 1
    is_deleted: bool = False


class ModelWorkflowRun(SlowRun):
    """A workflow run: its states are the slow reference's affair."""

    def __init__(
        self, workflow: ModelWorkflow, run_id: str, payload: str | None, now: int, **fields: Any
    ) -> None:
        plan = workflow.plan
        super().__init__([step.slow() for step in plan.steps], plan.places)
        self.project_id = workflow.project_id
        self.id = run_id
        self.workflow_id = workflow.id
        self.version = workflow.version
        self.plan = plan
        self.payload = payload
        self.doings = {step.ref: ModelStep(step) for step in plan.steps}
        self.created_at = now
        self.due_at = now + plan.timeout_secs * 1_000_000 if plan.timeout_secs else None
        self.finished_at: int | None = None
        self.parent: tuple[str, str] | None = fields.get("parent")
        self.depth: int = fields.get("depth", 0)
        self.hops: int = fields.get("hops", 0)
        self.retry_of: str | None = fields.get("retry_of")
        #: What the present commit brought: steps that complete, that are tried again, that are reopened.
        self.completing: list[tuple[str, Happening]] = []
        self.delaying: list[str] = []

    @property
    def has_ended(self) -> bool:
        return self.run in ENDED_RUN

    def step_id(self, ref: str) -> str:
        return f"{self.id}:{ref}"

    def outputs(self) -> dict[str, str | None]:
        return {ref: doing.output for ref, doing in self.doings.items()}

    def answers(self) -> Conditions:
        return Conditions(self)

    # ---- what the slow reference does, heard ---------------------------------------------------

    def happens(self, event: Any, name: str) -> bool:
        before = self.now[name]
        went_wrong = super().happens(event, name)
        after = self.now[name]
        if after == "completed" and before not in OVER:
            self.doings[name].output = event.output
            self.completing.append((name, event))
        elif after == "delayed" and before != "delayed":
            self.doings[name].attempt += 1
            self.delaying.append(name)
        return went_wrong

    def retry(self, name: str) -> None:
        before = dict(self.now)
        super().retry(name)
        for ref, state in self.now.items():
            if state == "pending" and before[ref] in OVER:
                doing = self.doings[ref]
                doing.attempt, doing.output = 1, None


class Conditions(dict[str, Answer]):
    """The answers to the conditions of a workflow run, as it stands when they are asked for."""

    def __init__(self, run: ModelWorkflowRun) -> None:
        super().__init__()
        self._run = run

    def __missing__(self, ref: str) -> Answer:
        condition = self._run.doings[ref].plan.condition
        assert condition is not None
        return condition.answer(self._run.payload, self._run.outputs(), self._run.now)
