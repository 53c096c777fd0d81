"""Record histories and check them, for as long as wanted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.linearizability.checker import check
from tests.linearizability.history import History
from tests.linearizability.nodes import SQLITE, kill_now_and_then, running
from tests.linearizability.recorder import Recording, record
from tests.linearizability.state import WAITING
from tests.streams.live import Live

#: Histories that are recorded before they are checked.
ROUND = 300
#: After so many faults more of them tell nothing new.
MOST_FAULTS = 100
#: What is told of a server's output where something was wrong.
MOST_LOG = 20_000


@dataclass
class Report:
    """`ended`: how the waits ended that somebody has seen; `faults`: histories that are wrong, in words."""

    histories: int = 0
    operations: int = 0
    unknown: int = 0
    kills: list[str] = field(default_factory=list)
    most_explored: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def take(self, histories: Iterable[History]) -> None:
        """Check them and count."""
        for history in histories:
            verdict = check(history)
            self.most_explored = max(self.most_explored, verdict.explored)
            if not verdict.is_ok:
                self.faults.append(verdict.text)
            self.histories += 1
            self.operations += len(history.operations)
            self.unknown += sum(each.outcome is None for each in history.operations)
            self.ended.update(_ends(history).values())
            self.answers.update(
                f"{each.asked.call} {each.outcome.status}" for each in history.operations if each.outcome
            )


def _ends(history: History) -> dict[str, str]:
    """Each trigger's state as it was seen last."""
    found: dict[str, str] = {}
    for operation in history.operations:
        outcome = operation.outcome
        shown = () if outcome is None else (outcome.trigger,) if outcome.trigger else outcome.settled
        for seen in shown:
            if found.get(seen.id, WAITING) == WAITING:
                found[seen.id] = seen.status
    return found


def run(
    folder: Path, histories: int, seed: int, *, database: str = SQLITE, nodes: int = 1, kills: bool = False
) -> Report:
    """Record at least so many histories and check each; with `kills`, while servers die."""
    report = Report()
    with running(folder, database, nodes) as servers:
        while report.histories < histories:
            wanted = min(ROUND, histories - report.histories)
            recording = asyncio.run(_record(servers, wanted, seed + report.histories, kills, report))
            report.faults += recording.faults
            report.take(recording.histories)
            if len(report.faults) > MOST_FAULTS:
                break
        if report.faults:
            report.faults += [
                f"{server.url} said: {server.log.read_text()[-MOST_LOG:]}" for server in servers
            ]
    return report


async def _record(servers: list[Live], wanted: int, seed: int, kills: bool, report: Report) -> Recording:
    """One round, in a project of its own: it meets an empty world also in a database that stays."""
    project = f"linear-{time.time_ns()}"
    killer = asyncio.create_task(kill_now_and_then(servers, seed, report.kills)) if kills else None
    try:
        return await record([server.url for server in servers], project, wanted, seed)
    finally:
        if killer is not None:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
