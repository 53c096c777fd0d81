"""Send, time-out, cancel and prefix send race for one trigger, over the real service and engine. Each
trigger has exactly one winner, and the store, the answers and the facts agree who it was.

Here: the parts of a race as a node does them, and the judge. Who asks which node for what is in `run.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from narrows.clock import SystemClock
from narrows.config import Config
from narrows.core.records import Trigger
from narrows.engine.loop import Engine
from narrows.engine.roles import all_roles
from narrows.errors import Refusal
from narrows.operations.access import CreateProject
from narrows.operations.base import DEV
from narrows.operations.events import SendEvent
from narrows.operations.prefix import SendPrefix
from narrows.operations.reads import GetTriggerById, Timeline
from narrows.operations.service import Service
from narrows.operations.triggers import CancelTrigger, OpenTrigger
from narrows.server import open_service

CONTENDERS = ("send", "cancel", "prefix")
TIME_OUT = "time-out"
#: How far from the due time the contenders start.
SPREAD_SECS = 0.03
#: In each race one contender, or none, starts early by so much, so that each of them wins at times;
#: a prefix send needs more, since it first looks for what waits and then queues behind the others. For a start;
#: `run.py` adapts them.
LEAD_SECS = {"send": 0.05, "cancel": 0.05, "prefix": 0.25, TIME_OUT: 0.0}
SETTLING = {"trigger.received", "trigger.timed_out", "trigger.canceled"}
#: For what must be heard of, on a machine however busy.
PATIENCE_SECS = 30
WON, LOST = "won", "lost"


class Start(NamedTuple):
    """A contender's part in a race: at which time he starts."""

    name: str
    trigger: Trigger
    at_us: int


class Ending(NamedTuple):
    """A trigger as it was found when it was settled, and what happened to it."""

    trigger: Trigger
    kinds: list[str]


@contextlib.asynccontextmanager
async def engaged(config: Config) -> AsyncIterator[Service]:
    """A node: the service over the database, with its engine at work."""
    async with open_service(config, SystemClock()) as service:
        engine = Engine(service, all_roles(service, service.unmatched, 30))
        engine.start()
        await service.perform(
            CreateProject(actor=DEV, id="default", entropy=service.entropy(), exist_ok=True)
        )
        yield service
        await engine.stop()


def starts(triggers: Sequence[Trigger], leads: Mapping[str, float], dice: random.Random) -> list[list[Start]]:
    """For each trigger all its contenders, at about the same moment; the time-out is the engine's own."""

    def start(name: str, trigger: Trigger, favourite: str) -> Start:
        early_secs = dice.uniform(-SPREAD_SECS, SPREAD_SECS) + (leads[name] if name == favourite else 0.0)
        return Start(name, trigger, trigger.expires_at - int(1e6 * early_secs))

    favourites = [(trigger, dice.choice(tuple(leads))) for trigger in triggers]
    return [[start(name, *each) for name in CONTENDERS] for each in favourites]


# ---- what a node is asked for ----------------------------------------------------------------------


async def open_waits(service: Service, name: str, size: int, timeout_secs: int) -> list[Trigger]:
    """So many waits."""
    opened = await asyncio.gather(
        *(
            service.perform(
                OpenTrigger(
                    actor=DEV,
                    project_id="default",
                    event_key=f"race:{name}:{number}:",
                    timeout_secs=timeout_secs,
                    entropy=service.entropy(),
                )
            )
            for number in range(size)
        )
    )
    return [outcome.trigger for outcome in opened]


async def contend(service: Service, parts: Sequence[Start]) -> list[str]:
    """What came of each: won, lost, or a fault in words."""
    return list(await asyncio.gather(*(_contend(service, part) for part in parts)))


async def _contend(service: Service, part: Start) -> str:
    await asyncio.sleep(max(0.0, (part.at_us - service.clock.now()) / 1e6))
    try:
        answer = await _act(service, part.name, part.trigger)
    except Refusal:
        return LOST
    except Exception as fault:
        return repr(fault)
    return LOST if part.name == "prefix" and not answer.resolved else WON


async def _act(service: Service, name: str, trigger: Trigger) -> Any:
    about: dict[str, Any] = {"actor": DEV, "project_id": "default", "entropy": service.entropy()}
    if name == "send":
        return await service.perform(SendEvent(**about, event_key=trigger.event_key, payload='"send"'))
    if name == "cancel":
        return await service.perform(CancelTrigger(**about, trigger_id=trigger.id))
    return await service.send_prefix(
        SendPrefix(DEV, "default", trigger.event_key, '"prefix"', service.entropy())
    )


async def endings(service: Service, triggers: Sequence[Trigger]) -> list[Ending]:
    """Each once it is settled by whoever it is, as a long poll waits."""
    return list(await asyncio.gather(*(_ending(service, trigger) for trigger in triggers)))


async def _ending(service: Service, trigger: Trigger) -> Ending:
    with service.feed.watch("default", trigger.id) as watch:
        found = await service.read(GetTriggerById(project_id="default", trigger_id=trigger.id))
        # Who never hears of it is judged by what he knows: it still waits.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECS):
                while found.settled_at is None:
                    found = await watch.next()
    facts = await service.read(Timeline(project_id="default", trigger_id=trigger.id))
    return Ending(found, [fact.kind for fact in facts])


# ---- the judge -------------------------------------------------------------------------------------


def judge(ending: Ending, answers: dict[str, str], wins: Counter[str]) -> list[str]:
    """The winner by the store; whoever claims to have won must be it, and only it may claim so."""
    stored = ending.trigger
    faults = [
        f"{stored.id}: {name}: {answer}" for name, answer in answers.items() if answer not in (WON, LOST)
    ]
    claims = [name for name, answer in answers.items() if answer == WON]
    winner = {
        ("received", '"send"'): "send",
        ("received", '"prefix"'): "prefix",
        ("canceled", None): "cancel",
        ("timed_out", None): TIME_OUT,
    }.get((stored.status, stored.response_payload))
    if winner is None or claims != ([] if winner == TIME_OUT else [winner]):
        faults.append(f"{stored.id} is {stored.status} {stored.response_payload}, claimed by {claims}")
    if sum(kind in SETTLING for kind in ending.kinds) != 1:
        faults.append(f"{stored.id} was settled by {ending.kinds}")
    if winner == TIME_OUT and (stored.settled_at or 0) < stored.expires_at:
        faults.append(f"{stored.id} was timed out before its time")
    wins[winner or "nobody"] += 1
    return faults
