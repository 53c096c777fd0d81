"""The role of deliveries over a real store, for its tests; the network is a double that is told what to
answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from narrows.api.deliveries import body_of
from narrows.core.run_records import Delivery
from narrows.core.signing_secrets import first_secret
from narrows.engine.deliver import DeliverRole
from narrows.operations.access import CreateProject
from narrows.operations.base import DEV
from narrows.operations.deliveries import RetryDelivery
from narrows.operations.reads.deliveries import ListDeliveries
from narrows.outgoing.answers import Answer
from narrows.testing import ManualClock
from tests.storage.kit import PROJECT, Bench, SqliteBackend, opened

URL = "https://example.com/hook"
SECOND = 1_000_000


class Posted(NamedTuple):
    url: str
    body: bytes
    headers: dict[str, str]
    at: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeCaller:
    """Answers with what `answer` says; while `open` is not set nobody gets an answer."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], Answer] = lambda posted: Answer(200, b"", None, None)
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = self.most = 0
        self.full: set[str] = set()

    def room(self, url: str) -> int:
        return 0 if url in self.full else 50

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], **limits: float) -> Answer:
        assert limits == {"timeout_secs": 30, "max_answer_bytes": 0}
        posted = Posted(url, body, dict(headers), self.clock.now())
        self.posted.append(posted)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
            return self.answer(posted)
        finally:
            self.under_way -= 1


class Running:
    """A bench, the role over it, and short words for what the tests ask."""

    def __init__(self, bench: Bench, caller: FakeCaller, sign: Any) -> None:
        self.bench, self.caller, self.clock = bench, caller, bench.clock
        self.role = DeliverRole(bench.service, caller, body_of, sign)  # type: ignore[arg-type]

    async def round(self, *, secs: float = 0.001) -> int | None:
        """A round, and what it began brought to its end."""
        self.clock.advance(secs=secs)
        due = await self.role.round()
        if self.caller.gate.is_set():
            while self.role.in_flight:
                await asyncio.sleep(0)
            await self.role._write_down()
        return due

    async def listed(self) -> list[Delivery]:
        page = await self.bench.store.read(ListDeliveries(project_id=PROJECT, limit=100))
        return list(page.items)

    async def project(self, project_id: str) -> None:
        secrets = first_secret("kept")
        await self.bench.perform(
            CreateProject(actor=DEV, id=project_id, entropy=2, exist_ok=False, signing_secrets=secrets)
        )

    async def only(self) -> Delivery:
        (delivery,) = await self.listed()
        return delivery

    async def retry(self, delivery: Delivery) -> None:
        await self.bench.perform(
            RetryDelivery(
                actor=DEV,
                project_id=PROJECT,
                entropy=1,
                delivery_id=delivery.id,
                trigger_id=delivery.trigger_id,
            )
        )


def plain_sign(kept: str, delivery_id: str, now: int, body: bytes) -> dict[str, str]:
    return {"webhook-id": delivery_id, "webhook-timestamp": str(now // SECOND), "kept": kept}


@asynccontextmanager
async def running(
    folder: Path, clock: ManualClock | None = None, *, secret: bool = True, sign: Any = plain_sign
) -> AsyncIterator[Running]:
    async with opened(SqliteBackend(folder), clock) as bench:
        if secret:
            await bench.perform(
                CreateProject(
                    actor=DEV, id=PROJECT, entropy=1, exist_ok=True, signing_secrets=first_secret("kept")
                )
            )
        yield Running(bench, FakeCaller(bench.clock), sign)
