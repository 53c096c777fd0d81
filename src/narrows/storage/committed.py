"""What a commit made known: the facts and the final state of the records it changed. It leaves the
writer only after COMMIT; streams, wake-ups, metrics and credential caches live on it."""

from __future__ import annotations

from typing import NamedTuple

from narrows.core.records import ApiKey, Fact, HeldEvent, Trigger
from narrows.core.run_records import Delivery, Job, Message, Run


class Committed(NamedTuple):
    """`now` is the batch's stamp in microseconds, `operations` how many shared the commit."""

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
