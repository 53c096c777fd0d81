"""What `api.md` says of waits, events and keys, as dictionaries: the oracle of the HTTP state machine.
Each call answers the status that the server must give; ids are learned from the server's replies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ABSENT: Any = object()


@dataclass
class Wait:
    id: str
    key: str
    status: str = "waiting"
    payload: Any = ABSENT
    timeout_secs: int = 3600


def same(one: Any, other: Any) -> bool:
    """Equal as JSON values: true is not 1, absent is not null."""
    if one is ABSENT or other is ABSENT:
        return one is other
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)


@dataclass
class Project:
    """One tenant. `waits` stand oldest first, `held` in the order of their arrival."""

    waits: list[Wait] = field(default_factory=list)
    held: list[tuple[str, str, Any]] = field(default_factory=list)  # id, key, payload

    def of_key(self, key: str) -> Wait | None:
        """The waiting one, else the newest."""
        found = [each for each in self.waits if each.key == key]
        return next((each for each in found if each.status == "waiting"), found[-1] if found else None)

    def of_id(self, wait_id: str) -> Wait | None:
        return next((each for each in self.waits if each.id == wait_id), None)

    def open(self, key: str, *, join: bool) -> int:
        found = self.of_key(key)
        if found is not None and found.status == "waiting":
            return 200 if join else 409
        return 201

    def opened(self, wait_id: str, key: str) -> Wait:
        """What a 201 has made: received at once if an event was held."""
        wait = Wait(wait_id, key)
        self.waits.append(wait)
        early = next((each for each in self.held if each[1] == key), None)
        if early is not None:
            self.held.remove(early)
            wait.status, wait.payload = "received", early[2]
        return wait

    def send(self, wait: Wait | None, payload: Any, *, hold: bool = False) -> int:
        if wait is not None and wait.status == "waiting":
            wait.status, wait.payload = "received", payload
            return 200
        if hold:
            return 202
        if wait is None:
            return 404
        return 200 if wait.status == "received" and same(wait.payload, payload) else 409

    def cancel(self, wait: Wait | None) -> int:
        if wait is None:
            return 404
        if wait.status != "waiting":
            return 409
        wait.status = "canceled"
        return 200

    def send_prefix(self, prefix: str, payload: Any, *, dry_run: bool) -> list[Wait]:
        found = [each for each in self.waits if each.status == "waiting" and each.key.startswith(prefix)]
        if not dry_run:
            for each in found:
                each.status, each.payload = "received", payload
        return found

    def stats(self) -> dict[str, int]:
        counts = {f"{status}_count": 0 for status in ("waiting", "received", "timed_out", "canceled")}
        for each in self.waits:
            counts[f"{each.status}_count"] += 1
        return {"total_count": len(self.waits), **counts}
