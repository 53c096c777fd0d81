"""What nodes tell one another of their commits: a hint, never the truth, sent after the commit by NOTIFY on
a connection of its own, so that no commit waits for it. Pure: what a hint says, and its text.

A hint names what was changed by ids; where that is too much for a notification, it says "many", and who
watches something reads it anew.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

import msgspec

from narrows.core.records import NEVER
from narrows.core.states import RunStatus
from narrows.storage.committed import Committed

#: PostgreSQL refuses notifications of 8,000 bytes.
MOST_BYTES: Final = 7_000


class Hint(msgspec.Struct, omit_defaults=True):
    """`node` is who committed. `subjects`: of each project the ids of changed triggers and runs, 16 bytes
    each, as base64; `many` says that there are too many to name. `queued` are (project, job, runs). `lost`: all
    of it is too much or was not told, and who hears it looks at the tables."""

    node: str
    subjects: dict[str, str] = {}
    queued: list[tuple[str, str, int]] = []
    due: dict[str, int] = {}
    jobs: list[tuple[str, str]] = []
    api_keys: list[str] = []
    many: bool = False
    lost: bool = False

    def ids(self) -> Iterable[tuple[str, str]]:
        """The changed triggers and runs, as (project id, id)."""
        for project_id, text in self.subjects.items():
            packed = b64decode(text)
            for start in range(0, len(packed), 16):
                yield project_id, str(UUID(bytes=packed[start : start + 16]))


class Gathered:
    """What was committed since the last hint."""

    def __init__(self) -> None:
        self._subjects: dict[str, set[str]] = {}
        self._queued: Counter[tuple[str, str]] = Counter()
        self._due: dict[str, int] = {}
        self._jobs: set[tuple[str, str]] = set()
        self._api_keys: set[str] = set()
        self._is_empty = True
        self._is_lost = False

    def __bool__(self) -> bool:
        return not self._is_empty

    def add(self, committed: Committed) -> None:
        self._is_empty = False
        for trigger in committed.triggers:
            self._subjects.setdefault(trigger.project_id, set()).add(trigger.id)
        for run in committed.runs:
            self._subjects.setdefault(run.project_id, set()).add(run.id)
            if run.status == RunStatus.QUEUED:
                self._queued[run.project_id, run.job_id] += 1
        self._jobs.update((job.project_id, job.id) for job in committed.jobs)
        self._api_keys.update(key.id for key in committed.api_keys)
        self._note_due("runs", (run.due_at for run in committed.runs))
        self._note_due("deliveries", (each.due_at for each in committed.deliveries))
        self._note_due("held events", (event.held_until for event in committed.held_events))
        self._note_due("messages", (message.created_at for message in committed.messages))
        self._note_due("workflow runs", (run.due_at for run in committed.workflow_runs))

    def missed(self) -> None:
        """Something was committed that the others were not told of: they have to look at the tables."""
        self._is_empty, self._is_lost = False, True

    def _note_due(self, what: str, times: Iterable[int | None]) -> None:
        earliest = min((at for at in times if at is not None), default=NEVER)
        if earliest < self._due.get(what, NEVER):
            self._due[what] = earliest

    def text(self, node: str) -> str:
        """The hint as it is sent."""
        lost = msgspec.json.encode(Hint(node=node, lost=True)).decode()
        if self._is_lost:
            return lost
        hint = Hint(
            node=node,
            subjects={project: _packed(ids) for project, ids in self._subjects.items()},
            queued=[(*key, runs) for key, runs in self._queued.items()],
            due=self._due,
            jobs=sorted(self._jobs),
            api_keys=sorted(self._api_keys),
        )
        shorter = msgspec.structs.replace(hint, subjects={}, many=True)
        texts = (msgspec.json.encode(each).decode() for each in (hint, shorter))
        return next((text for text in texts if len(text) <= MOST_BYTES), lost)


def _packed(ids: Iterable[str]) -> str:
    return b64encode(b"".join(UUID(each).bytes for each in ids)).decode()


def read(text: str) -> Hint:
    """Raises ValueError for what is no hint of ours."""
    decoded: Any = msgspec.json.decode(text, type=Hint)
    assert isinstance(decoded, Hint)
    return decoded
