"""The role that sends outgoing webhooks to `notify_url`s, at least once each.

It claims what is due, at most 50 at once and 10 of one host, and posts each in a task of its own; the next
round writes down how they ended. It keeps nothing else: the index on due times is the queue, and a claimed delivery stands in
it at the end of its lease. So a process that dies between an attempt and its record leaves a delivery
that is due again, and a slow address holds up nobody but itself. Not here: when the next attempt is
(`core/deliveries.py`), what addresses may be called (`outgoing/`), what the body says (handed in).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from narrows.core.deliveries import Outcome
from narrows.core.records import NEVER
from narrows.core.run_records import Delivery
from narrows.engine.loop import Role, earliest_due
from narrows.engine.queues import SHARE_OF_A_PROJECT
from narrows.errors import NarrowsError
from narrows.operations.deliveries import ClaimDeliveries, FinishDeliveries
from narrows.operations.reads.deliveries import DueDeliveries, DueDelivery, LoadParcel, Parcel

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.outgoing.caller import Caller
    from narrows.storage.committed import Committed

log = logging.getLogger("narrows.engine")

AT_ONCE: Final = 50
#: A host that hangs takes so many of them and no more.
AT_ONCE_OF_A_HOST: Final = 10
#: The whole of an attempt; well within its lease.
ATTEMPT_SECS: Final = 30.0
LEASE_US: Final = 60_000_000
PAUSE_US: Final = 100_000
#: Of an answer only the status counts: its body is not waited for.
MOST_ANSWER_BYTES: Final = 0
#: How far a round looks past what waits for a busy host: so many rows, in pages. The next goes on there.
MOST_LOOKED_AT: Final = 5_000
PAGE: Final = 500
START: Final = (0, "", "")
#: What is due and waits for room at its host is looked at again after this, or when a delivery ends.
ROOM_POLL_US: Final = 500_000

UNSIGNED: Final = (
    "the project has no signing secret; make one with POST /v1/projects/{id}/rotate-secret and try again"
)

#: A delivery's body, the same at every attempt.
Render = Callable[[Parcel], bytes]
#: (kept secrets, delivery's id, now in microseconds, body) -> the headers that sign it.
Sign = Callable[[str, str, int, bytes], Mapping[str, str]]


class DeliverRole(Role):
    """Sends what is due."""

    name = "deliver"

    def __init__(self, service: Service, caller: Caller, render: Render, sign: Sign) -> None:
        self.delivered = 0
        self.failed_attempts = 0
        self._service = service
        self._clock = service.clock
        self._caller = caller
        self._render = render
        self._sign = sign
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[tuple[Delivery, Outcome]] = []
        self._busy: Counter[str] = Counter()
        self._of_project: Counter[str] = Counter()
        self._look_from: tuple[int, str, str] = START
        self._draining = False

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    def wakes(self, committed: Committed) -> int | None:
        return earliest_due((each.due_at for each in committed.deliveries), committed, "deliveries")

    async def round(self) -> int | None:
        await self._write_down()
        free = AT_ONCE - len(self._tasks)
        if free <= 0 or self._draining:
            return None  # the first that ends asks for a round
        picked, next_due = await self._pick(free)
        if picked:
            ids = tuple((due.project_id, due.id) for due in picked)
            claimed = await self._service.perform(
                ClaimDeliveries(ids=ids, lease_us=LEASE_US, entropy=self._service.entropy())
            )
            for delivery in claimed:
                self._start(delivery)
            if len(claimed) < len(picked):
                # Another node was faster, or the clock here is ahead: then they are due in a moment.
                again_at = self._clock.now() + PAUSE_US
                return again_at if next_due is None else min(again_at, next_due)
        return next_due

    async def drain(self, secs: float) -> None:
        """Begin nothing new; let what is being sent end."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=secs)

    async def at_stop(self) -> None:
        """What is still being sent is cut off: it is sent again after its lease."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._write_down()

    async def _write_down(self) -> None:
        """How attempts ended, many in one commit. What cannot be written is tried again with the round."""
        if not self._ended:
            return
        ended = tuple(self._ended)
        await self._service.perform(FinishDeliveries(ended=ended, entropy=self._service.entropy()))
        del self._ended[: len(ended)]

    # ---- what is due -------------------------------------------------------------------------

    async def _pick(self, free: int) -> tuple[list[DueDelivery], int | None]:
        """What is due now, oldest first, passing over hosts that are busy and projects that have their
        share; and when the next falls due, None if that is when one of those ends that are being sent."""
        now = self._clock.now()
        picked: list[DueDelivery] = []
        busy, of_project = self._busy.copy(), self._of_project.copy()
        after, looked_at, limit = self._look_from, 0, free + 1
        later = None if after == START else now + ROOM_POLL_US
        while looked_at < MOST_LOOKED_AT:
            page = await self._service.read(DueDeliveries(after=after, until=NEVER, limit=limit))
            for due in page:
                ready_at = due.due_at + self._service.members.grace_us(due.id)
                if due.due_at > now:
                    self._look_from = START
                    return picked, min(ready_at, later or ready_at)
                if ready_at > now:  # another node's own
                    later = min(ready_at, later or ready_at)
                    continue
                if len(picked) == free:
                    return picked, None
                host = host_of(due.url)
                has_share = of_project[due.project_id] < SHARE_OF_A_PROJECT * (free - len(picked))
                if not has_share or busy[host] >= AT_ONCE_OF_A_HOST or self._caller.room(due.url) <= 0:
                    later = now + ROOM_POLL_US
                    continue
                busy[host] += 1
                of_project[due.project_id] += 1
                picked.append(due)
            if len(page) < limit:
                self._look_from = START
                return picked, later
            after, looked_at, limit = page[-1][:3], looked_at + limit, PAGE
        self._look_from = after
        return picked, later

    # ---- one attempt -------------------------------------------------------------------------

    def _start(self, delivery: Delivery) -> None:
        host, project_id = host_of(delivery.url), delivery.project_id
        self._busy[host] += 1
        self._of_project[project_id] += 1
        task = asyncio.create_task(self._attempt(delivery), name=f"delivery-{delivery.id}")
        self._tasks.add(task)

        task.add_done_callback(lambda task: self._release(task, host, project_id))

    def _release(self, task: asyncio.Task[None], host: str, project_id: str) -> None:
        self._tasks.discard(task)
        for counter, counted in ((self._busy, host), (self._of_project, project_id)):
            counter[counted] -= 1
            if not counter[counted]:
                del counter[counted]
        self.nudge(self._clock.now())

    async def _attempt(self, delivery: Delivery) -> None:
        outcome = await self._outcome(delivery)
        if outcome is None:
            return
        self._ended.append((delivery, outcome))
        if outcome.is_success:
            self.delivered += 1
        else:
            self.failed_attempts += 1

    async def _outcome(self, delivery: Delivery) -> Outcome | None:
        """Send it; None where it is gone with its trigger."""
        try:
            parcel: Parcel | None = await self._service.read(LoadParcel(delivery))
            return None if parcel is None else await self._send(parcel)
        except NarrowsError as error:
            return Outcome(None, error.message)
        except Exception as error:
            # Whatever is wrong with one: its schedule goes on, and so do the others.
            log.exception("the delivery %s could not be sent", delivery.id)
            return Outcome(None, f"it could not be sent: {type(error).__name__}")

    async def _send(self, parcel: Parcel) -> Outcome:
        delivery = parcel.delivery
        if parcel.signing_secrets is None:
            return Outcome(None, UNSIGNED)
        body = self._render(parcel)
        headers = self._sign(parcel.signing_secrets, delivery.id, self._clock.now(), body)
        answer = await self._caller.post(
            delivery.url,
            body,
            {"content-type": "application/json", **headers},
            timeout_secs=ATTEMPT_SECS,
            max_answer_bytes=MOST_ANSWER_BYTES,
        )
        return Outcome(answer.status, answer.error, answer.retry_after_secs)


def host_of(url: str) -> str:
    """Host and port, as one that may be slow for all its addresses; of a malformed URL the whole."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return url
