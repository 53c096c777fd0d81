"""A node's place among the nodes of a shared database: it joins, renews itself each second, and knows the
others. Who has not renewed itself for its lease is gone, and its slot is free for the next.

Nothing that must not happen twice hangs on it: it says who tries first (`members.py`), names the counters
of a node, and tells `narrows move` that somebody serves the database.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from narrows import __version__
from narrows.storage.line import Line
from narrows.storage.members import Nodes

log = logging.getLogger("narrows.storage")

LEASE_US: Final = 5_000_000
BEAT_SECS: Final = 1.0
#: Slots of those that are long gone, and batches whose outcome nobody asks for any more.
FORGET_US: Final = 60_000_000
FORGET_BATCHES_US: Final = 3_600_000_000
BEATS_PER_CLEANING: Final = 600
BEATS_PER_LOOK: Final = 2


class Membership:
    """This node, and what it knows of the others. `on_change` is called when a node has come or gone, `told` with
    the database's time. `admit` decides whether this node may come, while no other one comes and no `narrows move`
    works on the database; what it raises keeps this node out."""

    def __init__(
        self,
        line: Line,
        node_id: str,
        on_change: Callable[[], None],
        told: Callable[[int], None],
        admit: Callable[[Line], Awaitable[None]],
    ) -> None:
        self.nodes = Nodes()
        self.line = line
        self._id = node_id
        self._on_change = on_change
        self._told = told
        self._admit = admit
        self._beats = 0

    async def join(self) -> None:
        """Take a slot. Raises what the connection and `admit` raise."""
        sql = self.line.statements
        now = await self._now()
        async with self.line.transaction(f"begin; {sql['lock_nodes'].sql}"):
            await self._admit(self.line)
            await self.line.fetch(sql["forget_nodes"].sql, now - FORGET_US)
            name = socket.gethostname()
            ((slot,),) = await self.line.fetch(sql["join_nodes"].sql, self._id, name, __version__, now)
        await self._learn(slot, now)

    async def beat(self) -> None:
        """Renew this node, and learn who else is there."""
        sql = self.line.statements
        now = await self._now()
        found = await self.line.fetch(sql["renew_node"].sql, self._id, now)
        if not found:
            await self.join()  # this node was away for so long that it was forgotten
            return
        await self._learn(found[0][0], now)
        self._beats += 1
        if self.nodes.is_first and self._beats % BEATS_PER_LOOK == 0:
            await self._analyze_what_has_grown()
        if self.nodes.is_first and self._beats % BEATS_PER_CLEANING == 0:
            await self.line.fetch(sql["forget_batches"].sql, now - FORGET_BATCHES_US)

    async def _analyze_what_has_grown(self) -> None:
        """Autovacuum does so too, but only each minute, in which a new installation would crawl."""
        for (table,) in await self.line.fetch(self.line.statements["grown_tables"].sql):
            await self.line.run(f"analyze {table}")

    async def run(self) -> None:
        """Beat until it is canceled. While the database is away, a node knows whom it knew."""
        while True:
            await asyncio.sleep(BEAT_SECS)
            try:
                await self.beat()
            except Exception as error:  # noqa: BLE001 - it is tried again in a second
                self.line.drop()
                log.debug("this node could not renew its place: %s", error)

    async def leave(self) -> None:
        """The others need not wait for the end of the lease."""
        try:
            await self.line.fetch(self.line.statements["leave_nodes"].sql, self._id)
        except Exception as error:  # noqa: BLE001 - its lease ends by itself
            log.info("this node could not give back its place: %s", error)

    async def _learn(self, slot: int, now: int) -> None:
        rows = await self.line.fetch(self.line.statements["living_nodes"].sql, now - LEASE_US)
        ((oldest,),) = await self.line.fetch(self.line.statements["oldest_transaction"].sql)
        self.nodes.settled_until = now if oldest is None else min(now, oldest)
        before = self.nodes.slots
        self.nodes.learn(slot, [row[0] for row in rows])
        if before and before != self.nodes.slots:
            log.info("this node is one of %d now", len(self.nodes.slots))
            self._on_change()

    async def _now(self) -> int:
        ((now,),) = await self.line.fetch(self.line.statements["time_now"].sql)
        self._told(now)
        return int(now)
