"""By what a worker speaks to the server: it takes the steps of a plan in an event loop. Over kept
connections of its own where the way is plain HTTP (`keepalive.py`), by the HTTP library where there is TLS
or a proxy, and through the client itself where that has a transport of the user's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from narrows.client.attempts import attempt
from narrows.client.steps import Conditions, Exchange, Lost, Pause, Plan, Reply, Request, Step

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx2

    from narrows.client.call import Call
    from narrows.client.connection import Connection
    from narrows.client.keepalive import Wire

R = TypeVar("R")

Through = Callable[[Request], Awaitable[Reply | Lost]]


@dataclass(frozen=True, slots=True)
class Patient(Generic[R]):
    """The plan of a call that is tried again for `retry_secs`, whatever the client's setting."""

    call: Call[R]
    retry_secs: float

    def steps(self, conditions: Conditions) -> Generator[Step, Any, R]:
        return attempt(self.call, conditions, retry_secs=self.retry_secs)


class Line:
    """A way to the server for one event loop; make it inside of that. `most`: requests at once."""

    def __init__(self, connection: Connection, through: Through | None, *, most: int) -> None:
        self.conditions = connection.conditions
        self._connection = connection
        self._wire: Wire | None = None
        self._http: httpx2.AsyncClient | None = None
        self.exchange: Through
        if through is not None:
            self.exchange = through
        elif connection.is_plain:
            from narrows.client.keepalive import Wire  # noqa: PLC0415 - asyncio and the parser, only for workers

            headers = connection.options["headers"]
            self._wire = Wire(connection.url, headers, uds=connection.uds, most=most)
            self.exchange = self._wire.exchange
        else:
            from narrows.client import transports  # noqa: PLC0415 - as in the clients

            self._io = transports
            self._http = transports.async_http(connection, None)
            self.exchange = self._by_library

    async def perform(self, plan: Plan[R]) -> R:
        """As `AsyncClient.perform`."""
        steps = plan.steps(self.conditions)
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                result: R = stop.value
                return result
            if isinstance(step, Pause):
                await self.conditions.pace.sleep_async(step.secs)
                answer = None
            else:
                assert isinstance(step, Exchange)
                answer = await self.exchange(step.request)

    def finish(self) -> None:
        """Wait no longer for answers that are not on their way yet, where the way allows to tell."""
        if self._wire is not None:
            self._wire.finish()

    async def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
        if self._http is not None:
            await self._http.aclose()

    async def _by_library(self, request: Request) -> Reply | Lost:
        assert self._http is not None
        try:
            built = self._io.build(self._http, self._connection.url, request)
            response = await self._http.send(built)
            return self._io.reply(response, response.content)
        except self._io.FAILURES as error:
            return self._io.lost(error)
