"""Bugs planted into a real server, as Python that runs in it first: the histories recorded from it must be
refused. So it is shown that the clients do what brings such bugs to light, not only that the checker can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.linearizability.checker import check
from tests.linearizability.nodes import SQLITE, running
from tests.linearizability.recorder import record

#: Four that differ the most, for every `make test`.
SOME: Final = (
    "senders see the lateness of timers",
    "a prefix send lists what others have settled",
    "reads are a moment old",
    "an event_id is forgotten after a moment",
)
#: Histories are recorded, so many at a time, until one is refused.
AT_A_TIME = 30
MOST = 300
#: Servers that are started at a time.
STARTING = 3

BUGS: Final[dict[str, str]] = {
    "senders see the lateness of timers": """
from narrows.core import triggers
overdue = triggers.is_overdue
triggers.is_overdue = lambda trigger, wall: overdue(trigger, wall - 40_000)
""",
    "timers are early": """
from narrows.core import triggers
overdue = triggers.is_overdue
triggers.is_overdue = lambda trigger, wall: overdue(trigger, wall + 50_000)
""",
    "the last held event comes first": """
from narrows.storage.loaded import Loaded
held_events = Loaded.held_events
Loaded.held_events = lambda *key: held_events(*key)[::-1]
""",
    "a delivered event stays held": """
from narrows.core.records import HeldEvent
from narrows.storage.transaction import Transaction
delete = Transaction.delete
Transaction.delete = lambda tx, record: None if isinstance(record, HeldEvent) else delete(tx, record)
""",
    "any resend is answered as done": """
from narrows.operations import delivery
delivery._is_resend = lambda *anything: True
""",
    "a prefix send lists what others have settled": """
from narrows.operations import prefix
replace_progress = prefix.replace_progress
def all_of_them(progress, settled, refused, ids):
    more = replace_progress(progress, settled, refused, ids)
    return more._replace(resolved=progress.resolved + len(ids), first_ids=progress.first_ids + ids)
prefix.replace_progress = all_of_them
""",
    "reads are a moment old": """
import time
from narrows.operations.reads import GetTrigger
run, kept = GetTrigger.run, {}
async def stale(self, reader):
    at, found = kept.get(self.event_key, (0, None))
    if time.monotonic() - at > 0.04:
        found = await run(self, reader)
        kept[self.event_key] = time.monotonic(), found
    return found
GetTrigger.run = stale
""",
    "an extension counts from the opening": """
from narrows.core import triggers
extend = triggers.extend
triggers.extend = lambda trigger, secs, now: extend(trigger, secs, trigger.requested_at)
""",
    "an event_id is forgotten after a moment": """
from narrows.storage.loaded import Loaded
by_event_id = Loaded.event_by_event_id
def forgetful(self, *key):
    found = by_event_id(self, *key)
    return found._replace(held_until=found.held_at + 50_000) if found else None
Loaded.event_by_event_id = forgetful
""",
}


def hunt(folder: Path, names: Sequence[str] = tuple(BUGS)) -> dict[str, int]:
    """After how many histories each bug is found, 0 where it is not; all are hunted at once."""
    bugs = [BUGS[name] for name in names]
    with ExitStack() as stack, ThreadPoolExecutor(STARTING) as threads:

        def start(number: int, before: str) -> str:
            own = folder / f"bug-{number}"
            own.mkdir()
            (server,) = stack.enter_context(running(own, SQLITE, before=before))
            return server.url

        urls = list(threads.map(start, range(len(bugs)), bugs))
        return dict(zip(names, asyncio.run(_hunt_all(urls)), strict=True))


async def _hunt_all(urls: list[str]) -> list[int]:
    return await asyncio.gather(*map(_hunt, urls))


async def _hunt(url: str) -> int:
    for recorded in range(AT_A_TIME, MOST + 1, AT_A_TIME):
        recording = await record([url], f"hunt-{recorded}", AT_A_TIME, seed=recorded)
        if any(not check(history).is_ok for history in recording.histories):
            return recorded
    return 0
