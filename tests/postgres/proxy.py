"""The network between a driver and PostgreSQL, with its faults: a proxy that reads the protocol message by message
and breaks connections at a message that the test names, so that each run breaks at the same point.

    async with Proxy(dsn) as proxy:
        proxy.on_commit("after")           # the server commits; its answer never arrives
        ...                                # something uses proxy.dsn
        await proxy.struck()

It runs in the test's event loop, for any number of clients: in other threads and processes too. It speaks no TLS.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from tests.postgres import wire
from tests.postgres.faults import Fate, Faults, Rule
from tests.postgres.session import Target
from tests.postgres.wire import Message, Side


class Proxy(Faults):
    """Listens on loopback while the context is entered; without rules it only passes on."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self.target = Target.of(dsn)
        #: How many connections were ever made.
        self.connections = 0
        self._new: Fate | None = None
        self._links: set[Link] = set()

    @property
    def dsn(self) -> str:
        """The target's, through the proxy."""
        return self.target._replace(host="127.0.0.1", port=self._port).dsn

    def retarget(self, dsn: str) -> None:
        """New connections go there, as after a failover."""
        self.target = Target.of(dsn)

    # ---- faults of the whole way ---------------------------------------------------------------

    def cut(self) -> None:
        """Close all connections, now."""
        for link in list(self._links):
            link.close()

    def half_open(self) -> None:
        """Nothing passes any more: neither on the open connections nor on new ones, which seem to open."""
        self._new = Fate.HALF_OPEN
        for link in self._links:
            link.frozen = True

    def refuse(self) -> None:
        """Close new connections at once; open ones stay."""
        self._new = Fate.CUT

    def heal(self) -> None:
        """No rules, no delay, new connections work. Half-open ones have lost messages and stay as they are."""
        self._new = None
        self.reset()

    # ---- inside --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.release()
        for link in list(self._links):
            link.close()
        while self._links:
            await asyncio.sleep(0)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._new is Fate.CUT:
            writer.close()
            return
        target = self.target
        opened = (
            asyncio.open_unix_connection(target.path)
            if target.path
            else asyncio.open_connection(target.host, target.port)
        )
        try:
            to_server = await opened
        except OSError:
            writer.close()
            return
        link = Link(self, (reader, writer), to_server)
        link.frozen = self._new is Fate.HALF_OPEN
        self._links.add(link)
        try:
            await asyncio.gather(link.pump(Side.CLIENT), link.pump(Side.SERVER))
        finally:
            link.close()
            self._links.discard(link)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One connection: both its ends."""

    def __init__(self, faults: Faults, client: Stream, server: Stream) -> None:
        self._faults = faults
        self._ends = {Side.CLIENT: client, Side.SERVER: server}
        self._commits = wire.Commits()
        #: Nothing passes any more, and the end of one side does not reach the other.
        self.frozen = False

    async def pump(self, side: Side) -> None:
        """Pass on what this side sends, until it ends."""
        splitter = wire.Splitter(side)
        reader, _ = self._ends[side]
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                for message in splitter.feed(data):
                    if not self.frozen:
                        await self._take(message)
        if not self.frozen:
            self.close()

    def close(self) -> None:
        for _, writer in self._ends.values():
            writer.close()

    async def _take(self, message: Message) -> None:
        if message.code in wire.ENCRYPTION_REQUESTS:
            self._ends[Side.CLIENT][1].write(b"N")
            return
        if self._faults.delay_secs:
            await asyncio.sleep(self._faults.delay_secs)
        rule = self._faults.rule_for(message, self._commits.carried_by(message))
        if rule is None:
            await self._pass(message)
            return
        if rule.when == "after":
            await self._pass(message)
        await self._suffer(rule, message)

    async def _suffer(self, rule: Rule, message: Message) -> None:
        if rule.fate is Fate.CUT:
            self.frozen = True  # what came along in the same packet goes nowhere
            self.close()
        elif rule.fate is Fate.HALF_OPEN:
            self.frozen = True
        elif rule.fate is Fate.ORPHAN:
            self.frozen = True
            self._ends[Side.CLIENT][1].close()
        else:
            if rule.fate is Fate.LATE:
                self._ends[Side.CLIENT][1].close()
            await self._faults.held()
            if rule.when == "before":
                await self._pass(message)

    async def _pass(self, message: Message) -> None:
        """Hand it on to the other side, unless that has gone."""
        other = Side.SERVER if message.side is Side.CLIENT else Side.CLIENT
        _, writer = self._ends[other]
        if not writer.is_closing():
            writer.write(message.raw)
            await writer.drain()
