"""Keys that are near to one that nobody knows: what a person who mistyped a key wants to be told.

The look is bounded, some hundred probes of one index, whatever the project holds: neighbours in key
order, other spellings, other families (what stands before the last ':' or '/'). What counts as near
is in `near.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from narrows.core.keys import prefix_end
from narrows.core.states import TriggerStatus
from narrows.operations.reads.near import Kinship, families_of, kinship, spellings
from narrows.storage.backend import Reader

#: Each way in key order; and how many families of keys are told apart.
_NEIGHBOURS: Final = 50
_FAMILIES: Final = 30
_MOST_SPELLINGS: Final = 300
_BEST: Final = 5


class KeyIndex(NamedTuple):
    """The statements that look at one index of keys. `known` answers, for some keys, those that are
    in the index, each with a note."""

    after: str
    before: str
    first: str
    known: str


#: Keys of waits; the note is the newest one's status.
TRIGGER_KEYS: Final = KeyIndex("keys_after", "keys_before", "key_from", "statuses_by_key")
#: Keys of unmatched events; the note is when the last one arrived.
UNMATCHED_KEYS: Final = KeyIndex(
    "unmatched_keys_after", "unmatched_keys_before", "unmatched_key_from", "unmatched_by_key"
)


class NearKey(NamedTuple):
    kinship: Kinship
    event_key: str
    note: Any


@dataclass(frozen=True, slots=True)
class NearKeys:
    """The keys near to one, nearest first; with `waiting_only` those that wait."""

    project_id: str
    event_key: str
    waiting_only: bool = True

    async def run(self, reader: Reader) -> list[str]:
        found = await near_keys(reader, TRIGGER_KEYS, self.project_id, self.event_key)
        return [near.event_key for near in found if not self.waiting_only or is_waiting(near)][:_BEST]


@dataclass(frozen=True, slots=True)
class NearWaits:
    """The same as sentences, for the details of a refusal."""

    project_id: str
    event_key: str

    async def run(self, reader: Reader) -> tuple[str, ...]:
        return await near_waits(reader, self.project_id, self.event_key)


async def near_waits(reader: Reader, project_id: str, event_key: str) -> tuple[str, ...]:
    found = await near_keys(reader, TRIGGER_KEYS, project_id, event_key)
    return tuple(sentence_of(near) for near in found if is_waiting(near))[:_BEST]


def is_waiting(near: NearKey) -> bool:
    return bool(near.note == TriggerStatus.WAITING)


def sentence_of(near: NearKey) -> str:
    if is_waiting(near):
        return f"A wait is open under {near.event_key!r}: {near.kinship.reason}."
    return f"A wait under {near.event_key!r} is {near.note}: {near.kinship.reason}."


async def near_keys(reader: Reader, index: KeyIndex, project_id: str, event_key: str) -> list[NearKey]:
    """The keys in the index that are near to this one, nearest first."""
    scope = {"project_id": project_id, "event_key": event_key}
    rows = await reader.rows(index.after, **scope, most=_NEIGHBOURS)
    rows += await reader.rows(index.before, **scope, most=_NEIGHBOURS)
    if not rows:
        return []
    neighbours = {row[0] for row in rows}
    families = await _families(reader, index, project_id)
    families |= {family for key in neighbours for family in families_of(key)}
    near = {key for key in neighbours if kinship(event_key, key) is not None}
    candidates = near.union(spellings(event_key, families)[:_MOST_SPELLINGS])
    known = await reader.load(index.known, sorted((project_id, key) for key in candidates))
    return sorted(
        NearKey(kin, key, note) for key, note in known if (kin := kinship(event_key, key)) is not None
    )


async def _families(reader: Reader, index: KeyIndex, project_id: str) -> set[str]:
    """The first families of the project's keys in key order, found by one probe each."""
    found: set[str] = set()
    start = ""
    for _ in range(_FAMILIES):
        ((key,),) = await reader.rows(index.first, project_id=project_id, event_key=start)
        if key is None:
            break
        first, last = families_of(key)
        found |= {first, last}
        # A key without a family stands for itself; the next one begins with it at the earliest.
        start = prefix_end(first) if first else f"{key}\x01"
    return found - {""}
