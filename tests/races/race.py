"""Send, time-out, cancel and prefix send race for one trigger, over the real service and engine. Each
trigger has exactly one winner, and the store, the answers and the facts agree who it was."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
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

GROUP = 100
#: How far from the due time the contenders start.
SPREAD_SECS = 0.03
#: In each race one contender, or none, starts early by so much, so that each of them wins at times;
#: a prefix send needs more, since it first looks for what waits and then queues behind the others.
LEAD_SECS = {"send": 0.05, "cancel": 0.05, "prefix": 0.25, "time-out": 0.0}
SETTLING = {"trigger.received", "trigger.timed_out", "trigger.canceled"}


class Report(NamedTuple):
    races: int
    wins: Counter[str]
    faults: list[str]


async def run(folder: Path, races: int, seed: int) -> Report:
    """Run `races` races, a group at a time, each at the due time of its trigger."""
    dice = random.Random(seed)
    report = Report(races, Counter(), [])
    async with open_service(Config(data=folder), SystemClock()) as service:
        engine = Engine(service, all_roles(service, service.unmatched, 30))
        engine.start()
        await service.perform(
            CreateProject(actor=DEV, id="default", entropy=service.entropy(), exist_ok=True)
        )
        groups = [min(GROUP, races - start) for start in range(0, races, GROUP)]
        # Several groups at once: their waits last a second each, and that is all waiting there is.
        for start in range(0, len(groups), 10):
            await asyncio.gather(
                *(
                    _group(service, f"{start + at}", size, dice, report)
                    for at, size in enumerate(groups[start : start + 10])
                )
            )
        await engine.stop()
    return report


async def _group(service: Service, name: str, size: int, dice: random.Random, report: Report) -> None:
    opened = await asyncio.gather(
        *(
            service.perform(
                OpenTrigger(
                    actor=DEV,
                    project_id="default",
                    event_key=f"race:{name}:{number}:",
                    timeout_secs=1,
                    entropy=service.entropy(),
                )
            )
            for number in range(size)
        )
    )
    await asyncio.gather(*(_race(service, outcome.trigger, dice, report) for outcome in opened))


async def _race(service: Service, trigger: Trigger, dice: random.Random, report: Report) -> None:
    """All four at about the same moment; the time-out is the engine's own."""

    favourite = dice.choice(tuple(LEAD_SECS))

    async def at_about_the_due_time(name: str, contender: Any) -> Any:
        lead_secs = LEAD_SECS[name] if name == favourite else 0.0
        jitter = dice.uniform(-SPREAD_SECS, SPREAD_SECS) - lead_secs
        await asyncio.sleep(max(0.0, (trigger.expires_at - service.clock.now()) / 1e6 + jitter))
        return await contender

    send = service.perform(
        SendEvent(
            actor=DEV,
            project_id="default",
            event_key=trigger.event_key,
            payload='"send"',
            entropy=service.entropy(),
        )
    )
    cancel = service.perform(
        CancelTrigger(actor=DEV, project_id="default", trigger_id=trigger.id, entropy=service.entropy())
    )
    prefix = service.send_prefix(SendPrefix(DEV, "default", trigger.event_key, '"prefix"', service.entropy()))
    answers = await asyncio.gather(
        at_about_the_due_time("send", send),
        at_about_the_due_time("cancel", cancel),
        at_about_the_due_time("prefix", prefix),
        return_exceptions=True,
    )
    await _settled(service, trigger)
    stored = await service.read(GetTriggerById(project_id="default", trigger_id=trigger.id))
    facts = await service.read(Timeline(project_id="default", trigger_id=trigger.id))
    report.faults.extend(_judge(stored, list(answers), [fact.kind for fact in facts], report.wins))


async def _settled(service: Service, trigger: Trigger) -> None:
    """Until the trigger is settled by whoever it is, as a long poll waits."""
    with service.feed.watch("default", trigger.id) as watch:
        found = await service.read(GetTriggerById(project_id="default", trigger_id=trigger.id))
        while found.settled_at is None:
            found = await watch.next()


def _judge(stored: Trigger, answers: list[Any], kinds: list[str], wins: Counter[str]) -> list[str]:
    """The winner by the store; whoever claims to have won must be it, and only it may claim so."""
    faults = [
        f"{stored.id}: {answer!r}"
        for answer in answers
        if isinstance(answer, BaseException) and not isinstance(answer, Refusal)
    ]
    send, cancel, prefix = answers
    claims = [
        name
        for name, claimed in (
            ("send", not isinstance(send, BaseException)),
            ("cancel", not isinstance(cancel, BaseException)),
            ("prefix", not isinstance(prefix, BaseException) and prefix.resolved == 1),
        )
        if claimed
    ]
    winner = {
        ("received", '"send"'): "send",
        ("received", '"prefix"'): "prefix",
        ("canceled", None): "cancel",
        ("timed_out", None): "time-out",
    }.get((stored.status, stored.response_payload))
    if winner is None or claims != ([] if winner == "time-out" else [winner]):
        faults.append(f"{stored.id} is {stored.status} {stored.response_payload}, claimed by {claims}")
    if sum(kind in SETTLING for kind in kinds) != 1:
        faults.append(f"{stored.id} was settled by {kinds}")
    if winner == "time-out" and (stored.settled_at or 0) < stored.expires_at:
        faults.append(f"{stored.id} was timed out before its time")
    wins[winner or "nobody"] += 1
    return faults
