"""What the outside knows, kept in a process that is not killed: what was asked, what was answered,
what was seen. At the end the store must agree with every line of it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


class Wait:
    """One trigger as the outside knows it."""

    def __init__(self, trigger: dict[str, Any]) -> None:
        self.id: str = trigger["id"]
        self.event_key: str = trigger["event_key"]
        self.expires_at: str = trigger["expires_at"]
        self.attempted: list[Any] = []  # payloads of sends whatever their answer
        self.acknowledged: list[Any] = []  # payloads of sends answered 2xx as the first
        self.may_cancel = False
        self.canceled = False  # a cancel was answered 2xx
        self.settled: list[dict[str, Any]] = []  # every settled state anybody saw


class Ledger:
    def __init__(self) -> None:
        self.waits: dict[str, Wait] = {}
        self.unsure_keys: list[str] = []  # whose opening got no answer: the wait may be there
        self.prefix_resolved: dict[str, int] = {}  # repr of its payload -> what the reply said
        self.counts: defaultdict[str, int] = defaultdict(int)

    def opened(self, trigger: dict[str, Any]) -> Wait:
        wait = self.waits.setdefault(trigger["id"], Wait(trigger))
        self.saw(trigger)
        self.counts["opened"] += 1
        return wait

    def saw(self, trigger: dict[str, Any]) -> None:
        if trigger["status"] != "waiting" and trigger["id"] in self.waits:
            self.waits[trigger["id"]].settled.append(trigger)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    names = ("status", "response_payload", "settled_at", "received_at", "error", "sent_by")
    return all(one.get(name) == other.get(name) for name in names)


def violations(ledger: Ledger, stored: dict[str, dict[str, Any]]) -> list[str]:
    """Where the store (`stored`, by trigger id) breaks a promise that the ledger holds it to."""
    found = []
    for wait in ledger.waits.values():
        trigger = stored.get(wait.id)
        if trigger is None:
            found.append(f"P1: the trigger {wait.id}, whose opening was acknowledged, is gone")
            continue
        found += _of_one(wait, trigger)
    for payload, resolved in ledger.prefix_resolved.items():
        real = sum(1 for trigger in stored.values() if repr(trigger.get("response_payload")) == payload)
        if real != resolved:
            found.append(f"P6: a prefix send said {resolved}, the store holds {real}")
    return found


def _of_one(wait: Wait, trigger: dict[str, Any]) -> list[str]:
    found = []
    status, payload = trigger["status"], trigger.get("response_payload")
    if wait.acknowledged and (status != "received" or payload != wait.acknowledged[0]):
        found.append(f"P1: {wait.id} was acknowledged {wait.acknowledged[0]!r} and is {status} {payload!r}")
    if len({repr(sent) for sent in wait.acknowledged}) > 1:
        found.append(f"P2: {wait.id} acknowledged two different payloads")
    if wait.canceled and status != "canceled":
        found.append(f"P2: {wait.id} was acknowledged as canceled and is {status}")
    if status == "canceled" and not wait.may_cancel:
        found.append(f"P4: {wait.id} is canceled and nobody asked")
    if status == "received" and payload not in wait.attempted:
        found.append(f"P4: {wait.id} received {payload!r}, which nobody sent")
    if status == "timed_out" and trigger["settled_at"] < trigger["expires_at"]:
        found.append(f"P4: {wait.id} was timed out before its time")
    found += [
        f"P2: {wait.id} was seen {seen['status']} and is {status}"
        for seen in wait.settled
        if not _same(seen, trigger)
    ]
    return found
