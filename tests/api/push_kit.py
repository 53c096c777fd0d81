"""A server's insides for tests, whole: the API asked in process, its engine, and a real HTTP handler on a
loopback socket that is told by a coroutine how it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from narrows.api.app import create_app
from narrows.api.settings import ApiSettings
from narrows.clock import Clock
from narrows.config import Config
from narrows.engine.dispatch import DispatchRole
from narrows.engine.in_flight import RENEW_US
from narrows.engine.loop import Engine
from narrows.engine.roles import all_roles
from narrows.keyring import KEY_BYTES, Keyring
from narrows.operations.access import CreateProject
from narrows.operations.base import HOST
from narrows.outgoing.guard import Guard
from narrows.server import _outgoing
from narrows.testing import ManualClock, settle
from tests.api.harness import Client, service_of
from tests.api.run_kit import Dispatch, make_job, start
from tests.outgoing.servers import Reader, Target, Writer, answer, target

SECOND_US = 1_000_000

#: For what must come, on a machine however busy.
PATIENCE_SECS = 30
KEYRING = Keyring.of(b"k" * KEY_BYTES)


class Life(Client):
    """A client of a server with an engine."""

    def __init__(self, api: Any, engine: Engine, clock: Clock) -> None:
        super().__init__(api)
        self.engine, self.clock, self.killed = engine, clock, False
        (self.role,) = (role for role in engine.roles if isinstance(role, DispatchRole))

    def kill(self) -> None:
        """End the engine as SIGKILL would: nothing is given back, nothing more is written down."""
        self.killed = True
        for task in (*self.engine._tasks, *(each.task for each in self.role.in_flight._all)):
            if task is not None:
                task.cancel()

    async def status(self, run_id: str) -> str:
        return str((await self("GET", f"/v1/runs/{run_id}")).json["status"])

    async def becomes(self, run_id: str, status: str, attempt: int | None = None) -> Any:
        """The run, once it is that."""
        return await self.run_that(
            run_id, lambda run: run["status"] == status and attempt in (None, run["attempt"])
        )

    async def run_that(self, run_id: str, holds: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(PATIENCE_SECS):
            while not holds(found := (await self("GET", f"/v1/runs/{run_id}")).json):
                pass
        return found

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while not condition():
                await asyncio.sleep(0)

    async def kinds(self, run_id: str) -> list[str]:
        """What happened to the run, oldest first."""
        page = (await self("GET", f"/v1/runs/{run_id}/events?limit=100")).json
        return [each["kind"].removeprefix("run.") for each in page["data"]][::-1]

    async def rest(self) -> None:
        """Some turns, with commits in between."""
        for number in range(5):
            commit = CreateProject(actor=HOST, id="default", entropy=number, exist_ok=True)
            await self.api.service.perform(commit)
            await settle(30)

    async def leap(self, secs: int) -> None:
        """Let the manual clock jump, as after a suspend; what is being called may lose its lease."""
        await self._advance(secs * SECOND_US)

    async def pass_time(self, secs: int) -> None:
        """Let the manual clock go on so slowly that leases are renewed."""
        for _ in range(secs * SECOND_US // RENEW_US):
            await self._advance(RENEW_US)
        # Stamps are a little ahead of a clock that stands still.
        await self._advance(secs * SECOND_US % RENEW_US + 1_000)

    async def _advance(self, us: int) -> None:
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(us=us)
        await self.rest()
        in_flight, now = self.role.in_flight, self.clock.now()
        await self.until(lambda: not len(in_flight) or in_flight._renew_at > now)


@contextlib.asynccontextmanager
async def serving(config: Config, clock: Clock | None = None) -> AsyncIterator[Life]:
    clock = clock or ManualClock()
    settings = ApiSettings(dev=True, keyring=KEYRING, guard=Guard(allow_loopback=True))
    async with service_of(config, clock) as service:
        outgoing = _outgoing(config, settings, clock)
        engine = Engine(service, all_roles(service, service.unmatched, 30, outgoing))
        engine.start()
        client = Life(create_app(service, settings), engine, clock)
        try:
            yield client
        finally:
            if not client.killed:
                await engine.drain(0)
                await engine.stop()
            await outgoing.caller.close()


class Asked:
    """One request that the handler got: its headers, its body, and the run plane of its dispatch."""

    def __init__(self, client: Client, head: bytes, body: bytes) -> None:
        lines = head.decode().split("\r\n")[1:-2]
        self.headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        self.body = body
        claimed = {"run": {"id": self.headers["x-run-id"]}, "run_token": self.headers["x-run-token"]}
        self.plane = Dispatch(client, claimed)


#: What a handler does with a request; it answers with the bytes to send, b"" for a connection that breaks.
Handle = Callable[[Asked], Awaitable[bytes]]


class Handler:
    """A real HTTP server; its requests are kept."""

    def __init__(self, client: Client, handle: Handle) -> None:
        self._client, self._handle = client, handle
        self.asked: list[Asked] = []
        self.faults: list[Exception] = []

    async def serve(self, made: Target, reader: Reader, writer: Writer) -> None:
        while True:
            asked = Asked(self._client, *await made.request(reader))
            self.asked.append(asked)
            try:
                data = await self._handle(asked)
            except Exception as fault:
                self.faults.append(fault)  # told when the handler is closed
                return
            if not data:
                return
            await made.send(writer, data)


@contextlib.asynccontextmanager
async def handled(client: Client, handle: Handle, **job: Any) -> AsyncIterator[Handler]:
    """A job `job` whose endpoint does what `handle` says."""
    made = Handler(client, handle)
    async with target(made.serve) as listening:
        job = {"endpoint_url": listening.url(), **job}
        await make_job(client, **job)
        yield made
    if made.faults:
        raise made.faults[0]


async def pushed(client: Client, handle: Handle, **job: Any) -> Any:
    """A run that was called once, as it is after that."""
    async with handled(client, handle, **job):
        return await first_outcome(client)


async def first_outcome(client: Client) -> Any:
    """A new run after its first dispatch."""
    assert isinstance(client, Life)
    run_id = (await start(client, payload={"n": 1}))["id"]
    return await client.run_that(run_id, lambda run: run["dispatches"] and run["status"] != "executing")


def says(data: bytes) -> Handle:
    async def handle(asked: Asked) -> bytes:
        return data

    return handle


def in_turn(*handles: Handle) -> Handle:
    """The first request is handled by the first of these, and so on."""
    left: Iterator[Handle] = iter(handles)

    async def handle(asked: Asked) -> bytes:
        return await next(left)(asked)

    return handle


async def hang(asked: Asked) -> bytes:
    await asyncio.Event().wait()
    return answer()
