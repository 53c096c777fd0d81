"""What a commit made known: the facts and the final state of the records it changed. It leaves the
writer only after COMMIT; streams, wake-ups, metrics and credential caches live on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from narrows.core.records import ApiKey, Fact, HeldEvent, Trigger
from narrows.core.run_records import Delivery, Job, Message, Run
from narrows.core.workflow_records import WorkflowRun


class Elsewhere(NamedTuple):
    """What else is known of a commit of another node. `queued`: how many runs of a job (project id, job id)
    it queued; `due`: the earliest new due time of `runs`, `deliveries`, `held events`, `messages`; `missed`:
    something was committed, and nobody knows what: look at the tables."""

    queued: Mapping[tuple[str, str], int] = {}
    due: Mapping[str, int] = {}
    missed: bool = False


class Reservation(Protocol):
    """Somebody who waits for runs, and gets none elsewhere until one of these is called."""

    @property
    def claim(self) -> Any:
        """What he asks for (`operations.dispatch.Claim`)."""

    def suits(self, job: Job) -> bool:
        """Whether he may have runs of the job, which is as the commit finds it."""

    def accept(self, runs: tuple[Run, ...]) -> None:
        """These are his, and committed. In the event loop's thread."""

    def release(self) -> None:
        """Nothing came of it. In any thread."""


class Handed(NamedTuple):
    """What a batch hands to somebody who waited: `runs` grows until the commit."""

    reservation: Reservation
    runs: list[Run]


class Committed(NamedTuple):
    """`now` is the batch's stamp in microseconds, `operations` how many shared the commit; `handed` went out in it
    to those who waited. Where it is of another node (`elsewhere`), it holds only those records that somebody here wants to know of, as they
    are now, and no facts."""

    facts: tuple[Fact, ...]
    triggers: tuple[Trigger, ...]
    api_keys: tuple[ApiKey, ...]
    held_events: tuple[HeldEvent, ...]
    operations: int
    now: int
    commit_secs: float
    jobs: tuple[Job, ...] = ()
    runs: tuple[Run, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    messages: tuple[Message, ...] = ()
    elsewhere: Elsewhere | None = None
    workflow_runs: tuple[WorkflowRun, ...] = ()
    handed: tuple[Handed, ...] = ()
