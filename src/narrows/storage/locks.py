"""Which locks a batch needs on a database with several writers, from what its operations touch. Pure.

The declared order, the same for every writer of every node: names (in one statement, sorted), then the
rows of the roots (workflow runs, then runs: also those of workflow runs, which a claim locks alone), then triggers,
deliveries, messages, limited jobs (each by id), and last what is claimed, which never waits. So two writers may
wait in a line, never in a circle. A batch of triggers alone that belong to no run locks those by its writes, also by
their ids (`looked.py`).

A name is locked where the absence of a row matters, which no row's lock can protect: a wait that sees no
held event and a send that sees no wait would commit past each other. Names that many look at and few
change (credentials, a project's jobs) are shared by those who look.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from narrows.storage.backend import Touch

#: lookup -> (kind of name, how many columns of its key name it, whether it excludes others).
_NAMED: dict[str, tuple[str, int, bool]] = {
    "held_by_key": ("key", 2, True),
    "held_tally_by_key": ("key", 2, True),
    "held_by_event_id": ("key", 2, True),
    "idempotency_by_scope": ("idempotency", 1, True),
    "projects_to_change": ("project", 1, True),
    "api_keys_by_id": ("credential", 1, False),
    "api_keys_to_change": ("credential", 1, True),
    "jobs_by_id": ("jobs", 1, False),
    "jobs_by_slug": ("jobs", 1, False),
    "jobs_by_run": ("jobs", 1, False),
    "jobs_to_change": ("jobs", 1, True),
    # A replay looks at its job: none of the project begins while a purge counts those that live.
    "replay_tally_by_group": ("jobs", 1, True),
    "jobs_to_change_by_slug": ("jobs", 1, True),
    "workflows_by_id": ("workflows", 1, False),
    "workflows_by_slug": ("workflows", 1, False),
    "workflows_to_change": ("workflows", 1, True),
    "workflows_to_change_by_slug": ("workflows", 1, True),
}
#: lookup -> the list of keys in `Locks`.
_ROWS: dict[str, str] = {
    "triggers_by_key": "trigger_keys",
    "triggers_by_id": "trigger_ids",
    "triggers_to_change": "triggers_to_change",
    "callback_urls_by_hash": "token_hashes",
    "held_by_event_id": "event_ids",
    "runs_by_id": "run_ids",
    "roots_by_id": "run_ids",
    "roots_to_count": "run_ids",
    "workflow_runs_by_id": "run_ids",
    "queued_runs_by_job": "claimed_jobs",
    "deliveries_by_id": "deliveries",
    "messages_by_id": "messages",
    "held_by_id": "held_ids",
}


class Locks(NamedTuple):
    """What is to be locked, each list without repetition. `names` are (number, excludes others)."""

    names: list[tuple[int, bool]]
    trigger_keys: list[Touch]
    trigger_ids: list[Touch]
    triggers_to_change: list[Touch]
    token_hashes: list[Touch]
    event_ids: list[Touch]
    run_ids: list[Touch]
    claimed_jobs: list[Touch]
    deliveries: list[Touch]
    messages: list[Touch]
    held_ids: list[Touch]

    @property
    def has_roots(self) -> bool:
        return any(self[_FIRST_ROW:_BEHIND_ROOTS])

    @property
    def are_triggers_alone(self) -> bool:
        """Whether no row but triggers needs a lock, and those only if they belong to something that does."""
        return bool(self.trigger_keys or self.trigger_ids) and not any(self[_BEHIND_TRIGGERS:])

    @property
    def job_names(self) -> list[int]:
        """The names of the jobs of all projects whose roots are named: a workflow run that advances starts runs of
        them, most likely."""
        named = (self.trigger_keys, self.trigger_ids, self.triggers_to_change, self.run_ids)
        return sorted({name_of("jobs", key[0]) for keys in named for key in keys})


_FIRST_ROW = Locks._fields.index("trigger_keys")
_BEHIND_TRIGGERS = Locks._fields.index("triggers_to_change")
_BEHIND_ROOTS = Locks._fields.index("claimed_jobs")


def needed(touches: Iterable[Touch]) -> Locks:
    """The locks of a batch."""
    names: dict[tuple[str, ...], bool] = {}
    rows: dict[str, dict[Touch, None]] = {field: {} for field in Locks._fields[1:]}
    for touch in touches:
        if (named := _NAMED.get(touch[0])) is not None:
            kind, columns, excludes = named
            name = (kind, *touch[1 : 1 + columns])
            names[name] = names.get(name, False) or excludes
        if (field := _ROWS.get(touch[0])) is not None:
            rows[field][touch[1:3] if field == "claimed_jobs" else touch[1:]] = None
    numbers: dict[int, bool] = {}
    for name, excludes in names.items():
        number = name_of(*name)
        numbers[number] = numbers.get(number, False) or excludes
    return Locks(sorted(numbers.items()), **{field: list(keys) for field, keys in rows.items()})


def key_name(project_id: str, event_key: str) -> int:
    """The name of an event key, for what finds it only by looking."""
    return name_of("key", project_id, event_key)


def name_of(kind: str, *parts: str) -> int:
    """A signed 64-bit number. Two names that share one only wait for each other needlessly."""
    digest = blake2b("\0".join((kind, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
