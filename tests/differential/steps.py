"""The steps of a sequence, as values: each asks every side for the same and can be asked for again, alone or
without those before it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from narrows.operations.prefix import SendPrefix
from narrows.operations.purge import Purge
from narrows.storage.operation import Undecided
from tests.storage.kit import Bench

#: What is not read: the middle of a long text.
_LONG = re.compile(r"([^'\s]{40}|[^']{60})[^']{200,}")


class Asked(Protocol):
    """What a step asks of a side."""

    async def of(self, bench: Bench) -> Any:
        """The answer; a refusal, or whatever else was raised, stands in its place."""

    @property
    def name(self) -> str: ...


class Step(NamedTuple):
    """`after_us`: by so much the clock goes on first."""

    number: int
    after_us: int
    asked: Asked

    def __str__(self) -> str:
        asked = _LONG.sub(r"\1...", str(self.asked))
        return f"step {self.number}, {self.after_us / 1_000_000:+.6f} s: {asked}"


@dataclass(frozen=True, slots=True)
class Alone:
    """An operation, by the service, which answers its questions."""

    operation: Any

    async def of(self, bench: Bench) -> Any:
        return await _answer(bench.service.perform(self.operation))

    @property
    def name(self) -> str:
        return " ".join(names_of(self.operation))


@dataclass(frozen=True, slots=True)
class Together:
    """Operations that share a commit. What asks a question of the service is performed again, alone."""

    operations: tuple[Any, ...]

    async def of(self, bench: Bench) -> Any:
        answers = await _in_one_commit(bench, self.operations)
        for number, (operation, answer) in enumerate(zip(self.operations, answers, strict=True)):
            if isinstance(answer, Undecided):
                answers[number] = await _answer(bench.service.perform(operation))
        return answers

    @property
    def name(self) -> str:
        return "together"


@dataclass(frozen=True, slots=True)
class Read:
    """A question. `in_any_order`: the rows of its answer have no order that could be relied on."""

    read: Any
    in_any_order: bool = False

    async def of(self, bench: Bench) -> Any:
        answer = await _answer(bench.service.read(self.read))
        return sorted(answer, key=repr) if self.in_any_order and isinstance(answer, list | tuple) else answer

    @property
    def name(self) -> str:
        return type(self.read).__name__


@dataclass(frozen=True, slots=True)
class InManyCommits:
    """A prefix send, a purge or a round of retention: the service looks, and commits what it found."""

    request: Any

    async def of(self, bench: Bench) -> Any:
        if isinstance(self.request, SendPrefix):
            return await _answer(bench.service.send_prefix(self.request))
        if isinstance(self.request, Purge):
            return await _answer(bench.service.purge(self.request))
        return await _answer(bench.service.prune(self.request))

    @property
    def name(self) -> str:
        return type(self.request).__name__


def names_of(operation: Any) -> list[str]:
    """Of the operation and, where it wraps another, of that too."""
    inner = getattr(operation, "operation", None)
    return [type(operation).__name__] + ([] if inner is None else names_of(inner))


async def _in_one_commit(bench: Bench, operations: Sequence[Any]) -> list[Any]:
    """What they come to. A writer that is a thread is kept from taking the first before the last has come;
    one that is a task takes nothing in between. (`Bench.together` does it by a commit before, which takes
    as long again.)"""
    tasks = [asyncio.ensure_future(bench.store.perform(operation)) for operation in operations]
    with bench.store.writer._condition:
        await asyncio.sleep(0)  # they are performed,
        await asyncio.sleep(0)  # and handed over to the writer
    return await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(asked: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await asked
    except Exception as error:
        return error
