"""The values that the model of the simulation works with for runs: jobs, runs, and what a run waits for.
Written from the contract and not from the code under test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.simulation.values import Wait
    from tests.simulation.workflow_values import ModelWorkflowRun

SECOND_US = 1_000_000
ENDED = ("completed", "failed", "timed_out", "canceled", "dead_letter")
STATUSES = ("delayed", "queued", "executing", "waiting", *ENDED)


class Said(NamedTuple):
    """An answer that has to be equal to `value` (a bare string would be the code of a refusal)."""

    value: Any


@dataclass(slots=True)
class Job:
    project_id: str
    id: str
    slug: str
    is_pushed: bool
    timeout_secs: int
    max_attempts: int
    max_concurrency: int | None
    is_deleted: bool = False


@dataclass(slots=True, eq=False)
class Group:
    """What a run waits for: the waits in their order, and what follows when it cannot be reached."""

    run: ModelRun = field(repr=False)
    waits: tuple[Wait, ...] = field(repr=False)
    needed: int
    on_timeout: str
    on_cancel: str
    #: The wait whose settling decided it.
    ended_by: Wait | None = field(default=None, repr=False)


@dataclass(slots=True, eq=False)
class ModelRun:
    project_id: str
    id: str
    job: Job = field(repr=False)
    status: str
    priority: int
    payload: str | None
    created_at: int
    #: The job's at the time of its making; a later change of the job does not concern it.
    timeout_secs: int
    max_attempts: int
    due_at: int | None = None
    version: int = 1
    attempt: int = 1
    dispatch: int = 0
    state: str | None = None
    result: str | None = None
    holder: str | None = None
    dispatched_at: int = 0
    finished_at: int | None = None
    replay_of: str | None = None
    group: Group | None = field(default=None, repr=False)
    #: Between which times the next attempt is due, until the database has said when.
    pause: tuple[int, int] | None = None
    #: When it was queued last.
    queued_at: int = 0
    #: Whose step's work it is.
    step: tuple[ModelWorkflowRun, str] | None = field(default=None, repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def deadline(self) -> int:
        return self.dispatched_at + self.timeout_secs * SECOND_US

    @property
    def place(self) -> tuple[int, str]:
        """In the queue of its job: the smallest goes first."""
        return -self.priority, self.id

    def row(self) -> tuple[Any, ...]:
        """As `DUMP_RUNS` shows it."""
        return (
            self.project_id, self.id, self.job.id, self.status, self.version, self.priority, self.attempt,
            self.dispatch, self.due_at, self.holder, self.replay_of, self.finished_at, self.payload,
            self.result, self.state,
        )  # fmt: skip
