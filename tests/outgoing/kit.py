"""What the tests of outgoing requests share: a caller that may call loopback, a name system that says
what it is told, and what a failure looks like."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from narrows.outgoing.answers import Answer
from narrows.outgoing.caller import Caller
from narrows.outgoing.guard import Guard
from tests.outgoing.servers import Serve, Target, target

GENEROUS_SECS = 20.0


Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Names:
    """A name system for tests; `addresses` in the order in which it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


def caller(**given: Any) -> Caller:
    return Caller(Guard(allow_loopback=True), **given)


async def post(made: Target, *, timeout_secs: float = GENEROUS_SECS, **given: Any) -> Answer:
    mine = caller()
    try:
        return await mine.post(made.url(), b'{"n":1}', {}, timeout_secs=timeout_secs, **given)
    finally:
        await mine.close()


async def asked(serve: Serve, *, timeout_secs: float = GENEROUS_SECS, **given: Any) -> Answer:
    async with target(serve) as made:
        return await post(made, timeout_secs=timeout_secs, **given)


def failed(found: Answer, *words: str) -> None:
    assert found.status is None
    assert found.body == b""
    assert found.error is not None
    assert all(word in found.error for word in words), found.error
    assert found.error.endswith(".")
