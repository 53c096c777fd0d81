"""The stamps of batches that lose a race and begin again, beside those of another writer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from narrows.core.records import Trigger
from narrows.core.states import TriggerStatus
from narrows.storage.backend import BackendFailure
from narrows.storage.queued import Ticket
from narrows.storage.transaction import Limits
from narrows.storage.writer import Writer
from narrows.testing import ManualClock
from tests.storage.steps import Step

NEWEST = 1_000
TOUCHES = [("triggers_by_id", "p", "t")]


class Server:
    """A connection to a database whose clock is behind its newest stamp. Its first writes lose a race."""

    writer_name = "n0.0"
    now = 50

    def __init__(self, *, losing: int = 0, settled_at: int | None = None) -> None:
        self._losing = losing
        self._settled_at = settled_at
        #: What others do while this one begins, loads, begins again and so on.
        self.meanwhile: list[Callable[[], Awaitable[None]]] = []

    async def _pause(self) -> None:
        if self.meanwhile:
            await self.meanwhile.pop(0)()

    def forget(self) -> None: ...

    async def begin(self, touches: Any) -> None:
        await self._pause()

    async def load_all(self, wanted: Any) -> dict[str, list[Any]]:
        await self._pause()
        values = dict.fromkeys(Trigger._fields) | {
            "project_id": "p", "id": "t", "event_key": "k", "ordinal": 1, "version": 2, "requested_at": 1,
            "status": TriggerStatus.RECEIVED, "settled_at": self._settled_at,
        }  # fmt: skip
        return {name: [tuple(values.values())] if self._settled_at else [] for name in wanted}

    async def write(self, writes: Any) -> list[int]:
        self._losing -= 1
        if self._losing >= 0:
            raise BackendFailure("changed meanwhile", retry=True, learned=True)
        return [len(each.rows) for each in writes]

    async def rows(self, statement: str, **_: Any) -> list[Any]:
        return []

    async def load(self, statement: str, rows: Any) -> list[Any]:
        return []

    async def lock(self, touches: Any) -> None: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


def _writer() -> Writer:
    return Writer(ManualClock(), Limits(), last_stamp=NEWEST)


async def _stamp_of(writer: Writer, server: Server) -> int:
    (result,) = await writer.execute(server, [Ticket(Step(does=lambda tx: tx.now), TOUCHES, None)])
    stamp: int = result.outcomes[0].value
    return stamp


async def test_a_batch_that_begins_again_bears_the_stamp_that_it_would_have_had() -> None:
    assert await _stamp_of(_writer(), Server(losing=2)) == NEWEST + 1


async def test_a_stamp_is_given_back_only_if_nobody_has_moved_on_from_it() -> None:
    """Another batch is stamped while this one loads what moves its own stamp far ahead; then it loses its race, and
    the other writer commits again before it has begun anew."""
    writer, other = _writer(), Server()
    stamps: list[int] = []

    async def nothing() -> None:
        pass

    async def ahead() -> None:
        stamps.append(await _stamp_of(writer, other))

    first = Server(losing=1, settled_at=5 * NEWEST)
    first.meanwhile = [nothing, ahead, ahead]
    stamps.append(await _stamp_of(writer, first))
    stamps.append(await _stamp_of(writer, other))
    assert stamps == sorted(set(stamps))
