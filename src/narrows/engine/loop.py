"""The loop of every background duty, written once.

A role does one round of its work and returns when the next is due. Here is the rest: waiting
exactly until then, waking early when a commit brings something that is due sooner, looking again
every 30 seconds in case a wake-up was lost, and outliving any error of a role: it is logged,
counted and retried with a bounded pause. What a role does stands in its own file.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from narrows.engine.stats import RoleStats
from narrows.errors import Unavailable
from narrows.storage.news import Interests

if TYPE_CHECKING:
    from narrows.clock import Clock
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

log = logging.getLogger("narrows.engine")

#: However far away the next due time is, every role looks again after this: a wake-up may be lost.
SAFETY_POLL_US: Final = 30_000_000
FIRST_PAUSE_US: Final = 100_000
LONGEST_PAUSE_US: Final = 5_000_000
#: Event loops wake by whole milliseconds; asking for less would spin.
SHORTEST_SLEEP_US: Final = 1_000
STOP_SECS: Final = 5.0
FAR: Final = 1 << 62


def no_nudge(due: int) -> None:
    """What `Role.nudge` is outside an engine: there is no loop to wake."""


def earliest_due(times: Iterable[int | None], committed: Committed, what: str) -> int | None:
    """The earliest due time that a commit brings, by its records or, of another node, by its hint."""
    known = [at for at in times if at is not None]
    if committed.elsewhere is not None and what in committed.elsewhere.due:
        known.append(committed.elsewhere.due[what])
    return min(known, default=None)


class Role(ABC):
    """A background duty. `nudge(due)` asks the loop for a round at `due` at the latest."""

    name: str
    #: Whether something that another node may have committed is a reason to look.
    looks_when_missed = True
    nudge: Callable[[int], None] = staticmethod(no_nudge)

    @abstractmethod
    async def round(self) -> int | None:
        """Do one bounded round of work; return when the next is due, None if only when woken."""

    async def drain(self, secs: float) -> None:
        """Begin nothing new, and let what goes on beside the rounds end within that time."""
        return

    async def at_stop(self) -> None:
        """After the last round: write what only this process knows, end what goes on beside the rounds."""
        return

    def wakes(self, committed: Committed) -> int | None:
        """Note what a commit brings, called for each, in order; return its earliest due time. Where it is of
        another node and nobody knows what it brought, a round is due anyway."""
        return None

    def subjects(self) -> Mapping[str, str]:
        """Triggers and runs whose changes by other nodes `wakes` is to hear of too: their ids, with their project."""
        return {}


class Runner:
    """One role in its loop."""

    def __init__(self, role: Role, clock: Clock) -> None:
        self.role = role
        self.stats = RoleStats(role.name)
        self._clock = clock
        self._wake = asyncio.Event()
        self._due = 0
        self._hint = FAR
        self._stopping = False
        role.nudge = self.nudge

    async def run(self) -> None:
        while not self._stopping:
            self._due = self.stats.due = await self._round()
            await self._sleep()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def nudge(self, due: int) -> None:
        """A round is due at `due`, perhaps sooner than was thought."""
        self._hint = min(self._hint, due)
        # A role that fails is not hurried: its pause ends when it ends.
        if due < self._due and not self.stats.consecutive_errors:
            self._due = due
            self._wake.set()

    def on_commit(self, committed: Committed) -> None:
        due = self.role.wakes(committed)
        if committed.elsewhere is not None and committed.elsewhere.missed and self.role.looks_when_missed:
            due = 0
        if due is not None:
            self.nudge(due)

    async def _round(self) -> int:
        """One round and its bookkeeping; returns when the next is due."""
        self._hint = FAR
        stats = self.stats
        try:
            due = await self.role.round()
        except Exception as error:  # noqa: BLE001 - the loop outlives every fault of a role
            return self._failed(error)
        now = self._clock.now()
        stats.rounds += 1
        stats.consecutive_errors = 0
        stats.last_round_at = now
        return min(FAR if due is None else due, self._hint, now + SAFETY_POLL_US)

    def _failed(self, error: Exception) -> int:
        stats, now = self.stats, self._clock.now()
        pause = min(FIRST_PAUSE_US << min(stats.consecutive_errors, 10), LONGEST_PAUSE_US)
        stats.errors += 1
        stats.consecutive_errors += 1
        stats.last_error = f"{type(error).__name__}: {error}"
        stats.last_error_at = now
        # One stack trace tells it; a fault that goes on must not fill the log with them. Of a database that is
        # away it tells nothing.
        is_new = stats.consecutive_errors == 1 and not isinstance(error, Unavailable)
        log.error(
            "the role %s failed (%d in a row); next try in %d ms: %s",
            stats.name, stats.consecutive_errors, pause // 1000, stats.last_error,
            exc_info=error if is_new else None,
        )  # fmt: skip
        return now + pause

    async def _sleep(self) -> None:
        """Until `_due`, which a nudge may bring forward; always gives the event loop a turn."""
        while not self._stopping:
            self._wake.clear()
            now = self._clock.now()
            remains = self._due - now
            await self._clock.sleep_until(
                now + max(remains, SHORTEST_SLEEP_US) if remains > 0 else now, self._wake
            )
            if self._clock.now() >= self._due:
                return


class Engine:
    """All roles of this process, each in a task of its own."""

    def __init__(self, service: Service, roles: Sequence[Role]) -> None:
        self._feed = service.feed
        self.roles = tuple(roles)
        self._runners = [Runner(role, service.clock) for role in roles]
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        # Listening comes first: what is committed while a role first looks around is not missed.
        self._unsubscribe = self._feed.subscribe(self._on_commit, self._interests)
        self._tasks = [
            asyncio.create_task(runner.run(), name=f"role-{runner.role.name}") for runner in self._runners
        ]

    async def drain(self, secs: float) -> None:
        """Before the stop, while everything still runs: bring work that is under way to its end."""
        await asyncio.gather(*(role.drain(secs) for role in self.roles))

    async def stop(self) -> None:
        """Let each role end its round; what takes longer than a few seconds is cut off, safely,
        since a round is nothing but operations, each committed wholly or not at all."""
        for runner in self._runners:
            runner.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_SECS)
            for task in late:
                log.warning("%s did not end within %d s and is cut off", task.get_name(), STOP_SECS)
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._last_words()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    async def _last_words(self) -> None:
        for role in self.roles:
            try:
                await asyncio.wait_for(role.at_stop(), STOP_SECS)
            except Exception as error:  # noqa: BLE001 - a stop goes on to its end
                log.warning("the role %s could not end in order: %s", role.name, error)

    def stats(self) -> tuple[RoleStats, ...]:
        return tuple(runner.stats for runner in self._runners)

    def _interests(self) -> Interests:
        subjects = {each: project_id for role in self.roles for each, project_id in role.subjects().items()}
        return Interests(subjects, frozenset())

    def _on_commit(self, committed: Committed) -> None:
        for runner in self._runners:
            runner.on_commit(committed)
