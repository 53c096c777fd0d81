"""What the outside knows of runs, as `ledger.py` does of waits: what was triggered and sent, what was
answered. At the end every run must have ended as the ledger says, and have gone on exactly once."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

#: Once in the life of a run that waits for one event. Dispatches are at least once, and not among them.
ONCE = ("run.resumed", "run.completed")
DISPATCHED = "run.dispatched"


class Run:
    """One run as the outside knows it."""

    def __init__(self, run_id: str, event_key: str) -> None:
        self.id = run_id
        self.event_key = event_key
        self.sent: Any = None  # the payload of its event, once its send was acknowledged
        self.may_cancel = False
        self.canceled = False  # a cancel was answered 2xx


class RunLedger:
    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.faults: list[str] = []  # replies that no order of events allows
        self.counts: defaultdict[str, int] = defaultdict(int)

    def triggered(self, run_id: str, event_key: str) -> Run:
        self.counts["triggered"] += 1
        return self.runs.setdefault(run_id, Run(run_id, event_key))


class Stored(NamedTuple):
    """One run as the store answers in the end: the run itself, and the kinds of its facts."""

    run: dict[str, Any]
    kinds: list[str]


def violations(ledger: RunLedger, stored: dict[str, Stored]) -> list[str]:
    """Where the store (`stored`, by run id) breaks a promise that the ledger holds it to."""
    found = list(ledger.faults)
    for run in ledger.runs.values():
        if run.id not in stored:
            found.append(f"P1: the run {run.id}, whose trigger was acknowledged, is gone")
            continue
        found += _of_one(run, stored[run.id])
    found += [
        f"P5: the run {run_id} is a second one, of a repeated trigger"
        for run_id in stored.keys() - ledger.runs
    ]
    return found


def _of_one(run: Run, stored: Stored) -> list[str]:
    found, status, kinds = [], stored.run["status"], Counter(stored.kinds)
    if run.canceled and status != "canceled":
        found.append(f"P2: {run.id} was acknowledged as canceled and is {status}")
    if status == "canceled" and not run.may_cancel:
        found.append(f"P4: {run.id} is canceled and nobody asked")
    if status not in ("completed", "canceled"):
        found.append(f"P3: {run.id} did not go on: it is {status}, {stored.run.get('error')!r}")
    if status == "completed":
        if stored.run.get("result") != run.sent:
            found.append(f"P2: {run.id} was sent {run.sent!r} and ended with {stored.run.get('result')!r}")
        found += [f"P3: {run.id} has {kinds[kind]} of {kind}" for kind in ONCE if kinds[kind] != 1]
        if kinds[DISPATCHED] < 2:
            found.append(f"P3: {run.id} completed after {kinds[DISPATCHED]} dispatches: it never waited")
    found += [
        f"P3: {run.id} has {kinds[kind]} of {kind}"
        for kind in ONCE
        if kinds[kind] > 1 and status == "canceled"
    ]
    return found
