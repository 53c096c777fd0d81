"""The role that times triggers out, exactly and in bounded memory.

What is due soon stands in memory (`DueTimes`), fed by every commit and, page by page, by the index
on due times. The *horizon* is how far that reaches: each waiting trigger due before it is in
memory, later ones are found when the horizon moves on. So a timer fires within a millisecond
or two and a million waits cost nothing until their time comes.

The *mark* is a lower bound that is kept in the store: each trigger due before it is settled, so a
restart reads the index from there and not from the beginning. Every half minute the index is read
again from the mark to the horizon (the *recheck*): that catches a lost wake-up, and only then does
the mark move on. Whether a trigger really is due is decided by the operation, in its commit; what
stands here may be stale and does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from narrows.core.states import TriggerStatus
from narrows.engine.due import Due, DueTimes, Key
from narrows.engine.loop import SAFETY_POLL_US, Role
from narrows.engine.stats import Histogram
from narrows.errors import InternalError, NarrowsError, TooMuchFollows
from narrows.operations.purge import SetMark
from narrows.operations.reads.due import EXPIRE_MARK, DueTriggers, ReadMark
from narrows.operations.triggers import ExpireTriggers
from narrows.storage.members import GRACE_US

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.storage.committed import Committed

log = logging.getLogger("narrows.engine")

#: How far ahead a refill looks, and how near the horizon may come before the next one.
WINDOW_US: Final = 60_000_000
MARGIN_US: Final = 10_000_000
PAGE: Final = 5_000
LOW: Final = 2_500
MOST_IN_MEMORY: Final = 20_000
#: One operation, and how many triggers at once in several: they are queued while the first commits, and
#: the sends that came meanwhile go in between.
TRIGGERS_AN_OPERATION: Final = 500
TRIGGERS_UNDER_WAY: Final = 1_000
#: Operations follow one another this closely: what is due goes into the next commit, and not into the one after.
APART_US: Final = 2_000
OPERATIONS_A_ROUND: Final = 64
#: The mark stays this far behind, against small steps of the wall clock.
MARK_SLACK_US: Final = 10_000_000
SHARED_MARK_SLACK_US: Final = 60_000_000
#: An idle server writes its mark this rarely.
IDLE_MARK_US: Final = 600_000_000
#: A trigger that cannot be timed out (a fault of ours) is tried again after this.
POSTPONE_US: Final = 60_000_000
#: After an operation that timed out fewer than it was asked to, the index is read again this soon.
RECHECK_SOON_US: Final = 1_000_000
#: What is overdue by more is a backlog, which is worked off before anything is read again.
BACKLOG_US: Final = 1_000_000
#: Sorts after every id, since ids are lower-case hexadecimal.
AFTER_ALL_IDS: Final = "~"


class ExpireTriggersRole(Role):
    """Times out each trigger at its time."""

    name = "expire"

    def __init__(self, service: Service) -> None:
        self.lateness = Histogram()
        self.expired = 0
        self._service = service
        self._clock = service.clock
        self._due = DueTimes()
        self._horizon: Due | None = None  # None until the mark has been read
        self._loading_until = 0
        self._heard: set[Key] | None = None
        self._mark = 0
        self._written_mark = 0
        self._changed = False
        self._recheck_from: Due | None = None
        self._recheck_started_at = 0
        self._recheck_due = 0
        self._postponed: dict[Due, int] = {}
        self._under_way = 0
        self._ended = asyncio.Event()

    def wakes(self, committed: Committed) -> int | None:
        """Take note of triggers opened, extended and settled. Cheap: it runs for every commit."""
        if committed.elsewhere is not None and committed.elsewhere.missed:
            self._recheck_due = min(self._recheck_due, self._recheck_started_at + RECHECK_SOON_US)
        if not committed.triggers or self._horizon is None:
            return None
        self._changed = True
        until = max(self._horizon.at, self._loading_until)
        waiting, grace_us = TriggerStatus.WAITING, self._grace_of(committed)
        if self._heard is not None:
            self._heard.update((trigger.project_id, trigger.id) for trigger in committed.triggers)
        for trigger in committed.triggers:
            if trigger.status == waiting and trigger.expires_at <= until:
                due_at = trigger.expires_at + grace_us(trigger.id)
                self._due.put(Due(due_at, trigger.project_id, trigger.id))
            else:
                # Settled, or moved beyond the horizon: where it stood before is over.
                self._due.discard((trigger.project_id, trigger.id))
        if self._heard is None:
            self._stay_within_memory()
        return self._due.next()

    def _grace_of(self, committed: Committed) -> Callable[[str], int]:
        """What was opened on this node is its own; what another node opened is left to that one."""
        members = self._service.members
        return members.grace_us if committed.elsewhere is not None else lambda trigger_id: 0

    async def round(self) -> int | None:
        if self._horizon is None:
            await self._begin()
        await self._refill_when_low()
        await self._expire_due()
        await self._recheck_when_due()
        return self._next_round()

    async def _begin(self) -> None:
        mark = await self._service.read(ReadMark(EXPIRE_MARK)) or 0
        now = self._clock.now()
        # The wall clock may have been set back since the mark was written.
        self._mark = self._written_mark = min(mark, now - MARK_SLACK_US)
        self._horizon = Due(self._mark, "", "")
        self._recheck_due = now + SAFETY_POLL_US

    def _next_round(self) -> int:
        assert self._horizon is not None
        times = [self._recheck_due]
        if self._is_low(self._horizon):
            times.append(self._horizon.at - MARGIN_US)
        if self._recheck_from is not None:
            times.append(0)
        due = self._due.next()
        if due is not None:
            times.append(due)
        times.extend(self._postponed.values())
        return min(times)

    # --- what is due soon ---

    def _is_low(self, horizon: Due) -> bool:
        """Whether little is in memory, or nothing of what is due before the horizon."""
        due = self._due.next()
        return len(self._due) < LOW or due is None or due > horizon.at

    async def _refill_when_low(self) -> None:
        """Move the horizon on while it is near and little is known before it."""
        now = self._clock.now()
        assert self._horizon is not None
        while self._horizon.at <= now + MARGIN_US and self._is_low(self._horizon):
            # Commits that land while the page is read are taken in, whether it shows them or not.
            self._loading_until = now + WINDOW_US
            try:
                self._horizon = await self._load(self._horizon, self._loading_until)
            finally:
                self._loading_until = 0
            self._stay_within_memory()

    async def _load(self, after: Due, until: int) -> Due:
        """Read one page of the index into memory; returns how far it reached. What a commit told
        meanwhile is newer than the page."""
        heard = self._heard = set[Key]()
        try:
            rows = await self._service.read(DueTriggers(after=after, until=until, limit=PAGE))
        finally:
            self._heard = None
        page = [Due(*row) for row in rows]
        grace_us = self._service.members.grace_us
        self._due.put_all(
            due._replace(at=due.at + grace_us(due.id))
            for due in page
            # What stands here without a grace was opened by this node: it is its own.
            if due[1:] not in heard and due not in self._postponed and not self._due.stands(due)
        )
        return page[-1] if len(page) >= PAGE else Due(until, AFTER_ALL_IDS, "")

    def _stay_within_memory(self) -> None:
        if len(self._due) > MOST_IN_MEMORY:
            last = self._due.keep_first(MOST_IN_MEMORY // 2)
            if last is not None and self._horizon is not None:
                # What was left to other nodes for a while stands that much later than it is due.
                grace_us = 0 if self._service.members.is_alone else GRACE_US
                self._horizon = min(self._horizon, last._replace(at=last.at - grace_us))

    async def _recheck_when_due(self) -> None:
        """One page of the recheck, if one is going on or due. Not while many are overdue: they go first."""
        assert self._horizon is not None
        now = self._clock.now()
        overdue = self._due.next()
        if overdue is not None and overdue < now - BACKLOG_US:
            return
        if self._recheck_from is None and now >= self._recheck_due:
            self._recheck_from = Due(self._mark, "", "")
            self._recheck_started_at = now
            self._recheck_due = now + SAFETY_POLL_US
        if self._recheck_from is None:
            return
        reached = await self._load(self._recheck_from, self._horizon.at)
        self._stay_within_memory()
        self._recheck_from = reached if reached < self._horizon else None
        if self._recheck_from is None:
            await self._move_mark()

    async def _move_mark(self) -> None:
        """The index has just been read: what is due before the earliest that is left is settled."""
        assert self._horizon is not None
        # A trigger that another node was opening as the index was read is not in what was found; its
        # time is later than the beginning of that transaction, which does not last so long.
        slack_us = MARK_SLACK_US if self._service.members.is_alone else SHARED_MARK_SLACK_US
        bounds = [self._recheck_started_at, self._horizon.at, self._service.members.settled_until]
        bounds += [due.at for due in self._postponed]
        due = self._due.next()
        if due is not None:
            bounds.append(due)
        self._mark = max(self._mark, min(bounds) - slack_us)
        ahead = self._mark - self._written_mark
        if ahead >= IDLE_MARK_US or (ahead > 0 and self._changed):
            await self._service.perform(SetMark(name=EXPIRE_MARK, value=self._mark))
            self._written_mark = self._mark
            self._changed = False

    # --- timing out ---

    async def _expire_due(self) -> None:
        """Time out what is due, and what becomes due while that commits. Nothing is under way at its end; the
        next round takes the rest."""
        faults: list[Exception] = []
        async with asyncio.TaskGroup() as group:
            begun = 0
            while begun < OPERATIONS_A_ROUND and not faults:
                now = self._clock.now()
                self._revive_postponed(now)
                room = min(TRIGGERS_AN_OPERATION, TRIGGERS_UNDER_WAY - self._under_way)
                part = self._due.take(now, room)
                if not part and not self._under_way:
                    break
                if part:
                    begun += 1
                    self._under_way += len(part)
                    group.create_task(self._expire_or_put_back(part, faults))
                await self._clock.sleep_until(now + APART_US, self._ended)
                self._ended.clear()
        if faults:
            raise faults[0]

    async def _expire_or_put_back(self, part: Sequence[Due], faults: list[Exception]) -> None:
        try:
            await self._expire(part)
        except Exception as error:  # noqa: BLE001 - the round raises it when all have ended
            self._due.put_back(part)
            faults.append(error)
        finally:
            self._under_way -= len(part)
            self._ended.set()

    async def _expire(self, part: Sequence[Due]) -> None:
        """Time these out in one commit. If one of them cannot be, the others still are."""
        ids = tuple((due.project_id, due.id) for due in part)
        try:
            expired = await self._service.perform(ExpireTriggers(ids=ids, entropy=self._service.entropy()))
        except (InternalError, TooMuchFollows) as error:
            await self._expire_apart(part, error)
            return
        now = self._clock.now()
        self.expired += expired
        self.lateness.observe_all((now - due.at) / 1_000_000 for due in part)
        if expired < len(part):
            # Settled by another meanwhile, as a rule. But should the clock have stepped back
            # between here and the commit, they still wait: so look at the index again soon.
            self._recheck_due = min(self._recheck_due, now + RECHECK_SOON_US)

    async def _expire_apart(self, part: Sequence[Due], error: NarrowsError) -> None:
        """One of these breaks an invariant, or too much follows from all of them: halve until it stands alone, and set
        it aside."""
        if len(part) == 1:
            log.error("trigger %s could not be timed out and is tried again later: %s", part[0].id, error)
            self._postponed[part[0]] = self._clock.now() + POSTPONE_US
            return
        middle = len(part) // 2
        await self._expire(part[:middle])
        await self._expire(part[middle:])

    def _revive_postponed(self, now: int) -> None:
        for due in [due for due, again_at in self._postponed.items() if again_at <= now]:
            del self._postponed[due]
            self._due.put(due)
