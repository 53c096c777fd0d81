"""Races on one node in this process, or on three in processes of their own over one database: then each
contender of a race is on another node, all three engines look at the clock, and any of them tells how it
ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

from narrows.config import Config
from narrows.core.records import Trigger
from narrows.keyring import Keyring
from narrows.operations.service import Service
from tests.races import node, race
from tests.races.race import judge

NODES = 3
#: Who wins less than this gets a longer lead: how long a commit takes is the machine's affair.
FAIR_SHARE = 0.15
LONGER = 1.5
LONGEST_LEAD_SECS = 1.0


class Report(NamedTuple):
    races: int
    wins: Counter[str]
    faults: list[str]


class Pace(NamedTuple):
    """Waits of `timeout_secs`, a group of them due at once, and that is all waiting there is."""

    group: int
    groups_at_once: int
    timeout_secs: int


#: A commit to PostgreSQL takes longer, so that fewer are due at the same moment.
PACES = {"sqlite": Pace(40, 10, 1), "postgres": Pace(20, 15, 2)}


class Node(Protocol):
    async def ask(self, name: str, *arguments: Any) -> Any:
        """What this function of `race.py` answers there."""


class Here:
    """The node of this process."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ask(self, name: str, *arguments: Any) -> Any:
        return await getattr(race, name)(self._service, *arguments)


class There:
    """A node in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._writer, self._reader = process, process.stdin, process.stdout
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    async def ask(self, name: str, *arguments: Any) -> Any:
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        node.write(self._writer, (number, name, arguments))
        return await self._asked[number]

    async def run(self) -> None:
        """Hand out its answers until it ends."""
        while (answer := await node.read(self._reader)) is not None:
            self._asked.pop(answer[0]).set_result(answer[1])
        for left in self._asked.values():
            left.set_exception(RuntimeError("the node has ended"))

    async def is_ready(self) -> None:
        assert await node.read(self._reader) == "ready"

    async def end(self) -> None:
        self._writer.close()
        await self._process.wait()


@contextlib.asynccontextmanager
async def _nodes(config: Config) -> AsyncIterator[list[Node]]:
    if not config.is_shared:
        async with race.engaged(config) as service:
            yield [Here(service)]
        return
    Keyring.open(config.data, config.secret_key)  # which they have in common
    command = [sys.executable, "-m", "tests.races.node", str(config.data), config.database]
    pipes: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    processes = [await asyncio.create_subprocess_exec(*command, **pipes) for _ in range(NODES)]
    nodes = [There(process) for process in processes]
    try:
        await asyncio.gather(*(each.is_ready() for each in nodes))
        hearing = [asyncio.create_task(each.run()) for each in nodes]
        yield list(nodes)
        await asyncio.gather(*(each.end() for each in nodes), *hearing)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run(config: Config, races: int, seed: int) -> Report:
    """Run `races` races, groups of them beside each other, each at the due time of its trigger."""
    pace = PACES["postgres" if config.is_shared else "sqlite"]
    dice = random.Random(seed)
    leads = dict(race.LEAD_SECS)
    report = Report(races, Counter(), [])
    groups = iter([(at, min(pace.group, races - at)) for at in range(0, races, pace.group)])

    async def work(nodes: Sequence[Node], number: int) -> None:
        await asyncio.sleep(number * pace.timeout_secs / pace.groups_at_once)  # so that they are spread
        for at, size in groups:
            triggers = await dice.choice(nodes).ask("open_waits", f"{at}", size, pace.timeout_secs)
            await _race(nodes, triggers, race.starts(triggers, leads, dice), dice, report)
            _adapt(leads, report.wins)

    async with _nodes(config) as nodes:
        await asyncio.gather(*(work(nodes, number) for number in range(pace.groups_at_once)))
    return report


def _adapt(leads: dict[str, float], wins: Counter[str]) -> None:
    """A race has to be close: who wins too rarely starts earlier from now on."""
    rare = {name for name in leads if wins[name] < FAIR_SHARE * wins.total()}
    for name in race.CONTENDERS:
        if name in rare:
            leads[name] = min(LONGEST_LEAD_SECS, leads[name] * LONGER)
        elif race.TIME_OUT in rare:
            leads[name] /= LONGER


async def _race(
    nodes: Sequence[Node],
    triggers: Sequence[Trigger],
    parts_of_each: Sequence[Sequence[race.Start]],
    dice: random.Random,
    report: Report,
) -> None:
    """Deal out the parts to the nodes, all at once, and judge what came of them."""
    shares: list[list[race.Start]] = [[] for _ in nodes]
    for parts in parts_of_each:
        for number, part in enumerate(dice.sample(parts, len(parts))):
            shares[number % len(nodes)].append(part)
    found, *answered = await asyncio.gather(
        dice.choice(nodes).ask("endings", triggers),
        *(each.ask("contend", share) for each, share in zip(nodes, shares, strict=True)),
    )
    answers: dict[str, dict[str, str]] = {trigger.id: {} for trigger in triggers}
    for share, said in zip(shares, answered, strict=True):
        for part, answer in zip(share, said, strict=True):
            answers[part.trigger.id][part.name] = answer
    for ending in found:
        assert len(answers[ending.trigger.id]) == len(race.CONTENDERS)
        report.faults.extend(judge(ending, answers[ending.trigger.id], report.wins))
