"""A plugin of pytest that lets so many of a hundred database calls go wrong: before they are made, after they
succeeded, by being canceled in between, or by taking their time. Batches are run again as often as it takes, and
a read that is refused is asked again; whatever else a test finds is a fault of ours.

    NARROWS_FLAKY=5 NARROWS_FLAKY_SEED=1 pytest -p tests.storage.flaky.plugin -k postgres tests/storage/conformance

`python -m tests.storage.flaky` runs the whole campaign.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from narrows.errors import Unavailable
from narrows.storage import writer
from narrows.storage.line import Line
from narrows.storage.postgres_store import PostgresStore

PERCENT = float(os.environ.get("NARROWS_FLAKY", "5"))
SEED = int(os.environ.get("NARROWS_FLAKY_SEED", "1"))
KINDS = ("before", "after success", "canceled", "slow")
#: At one call in five a batch of ten calls comes through once in ten times.
ATTEMPTS = 500
READ_ATTEMPTS = 200

#: They count the attempts at a batch themselves, to cut it off at one of them.
COUNTS_ATTEMPTS = ("test_a_purge_with_a_key_goes_on_and_answers_the_total",)
#: They are about what only the first try at a batch does.
FIRST_TRY = ("test_handing.py", "test_handing_order.py")

_dice = random.Random(SEED)
counts: Counter[str] = Counter()


class FlakyLine(Line):
    """Its calls go wrong once the store has started."""

    is_armed: Callable[[], bool] = staticmethod(lambda: False)

    async def run(self, sql: str, secs: float | None = None) -> None:
        await self._suffer(lambda: super(FlakyLine, self).run(sql, secs))

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        found: list[Any] = await self._suffer(lambda: super(FlakyLine, self).fetch(sql, *arguments))
        return found

    async def _suffer(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if not self.is_armed():
            return await call()
        counts["calls"] += 1
        if _dice.random() * 100 >= PERCENT:
            return await call()
        kind = _dice.choice(KINDS)
        counts[kind] += 1
        if kind == "slow":
            await asyncio.sleep(0.02)
            return await call()
        if kind == "after success":
            await call()
        elif kind == "canceled":
            await _begin_and_cancel(call())
        self.drop()
        raise asyncpg.ConnectionDoesNotExistError(f"a fault of the test: {kind}")


async def _begin_and_cancel(call: Coroutine[Any, Any, Any]) -> None:
    """The driver asks the server to cancel it, which may come too late."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(_dice.choice((0, 0, 0.001)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _again(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def asked(*arguments: Any) -> Any:
        for _ in range(READ_ATTEMPTS):
            try:
                return await ask(*arguments)
            except Unavailable as refused:
                if "fault of the test" not in str(refused):
                    raise
                counts["asked again"] += 1
        raise AssertionError("it never came through")

    return asked


def _with_its_stamp(attempt: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Tests compare stamps with a clock that stands still: one that was not used is used again."""

    async def attempted(self: writer.Writer, *arguments: Any, **options: Any) -> Any:
        stamp = self._last_stamp
        try:
            return await attempt(self, *arguments, **options)
        except BaseException:
            self._last_stamp = stamp
            raise

    return attempted


@pytest.fixture(autouse=True)
def _flaky(monkeypatch: pytest.MonkeyPatch) -> None:
    def line(store: PostgresStore, who: str) -> Line:
        made = FlakyLine(store._connect, store.calls[who], lambda: store._pooled)
        made.is_armed = lambda: bool(getattr(store, "_writers", ()))
        return made

    monkeypatch.setattr(PostgresStore, "_line", line)
    monkeypatch.setattr(PostgresStore, "read", _again(PostgresStore.read))
    monkeypatch.setattr(PostgresStore, "perform", _again(PostgresStore.perform))
    monkeypatch.setattr(writer, "ATTEMPTS", ATTEMPTS)
    monkeypatch.setattr(writer.Writer, "_attempt", _with_its_stamp(writer.Writer._attempt))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name.startswith(COUNTS_ATTEMPTS):
            item.add_marker(pytest.mark.skip(reason="it counts the attempts at a batch"))
        if item.path.name in FIRST_TRY:
            item.add_marker(pytest.mark.skip(reason="it is about the first try at a batch"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"flaky, {PERCENT:g} %, seed {SEED}: {dict(counts)}")
