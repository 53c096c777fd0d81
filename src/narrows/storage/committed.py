"""What a commit made known: the facts and the final state of the records it changed. It leaves the
writer only after COMMIT; streams, wake-ups, metrics and credential caches live on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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


class Committed(NamedTuple):
    """`now` is the batch's stamp in microseconds, `operations` how many shared the commit. Where it is of
    another node (`elsewhere`), it holds only those records that somebody here wants to know of, as they
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
