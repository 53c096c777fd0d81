"""What the database has of workflow runs, for the model to learn ids from: it says which row is that of a wait, a run or a
message that the model knows had to be made. Nothing else is taken from here."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.simulation.values import Held, Violation

#: In both dialects.
STEP_TRIGGERS = """
    select id, workflow_step_run_id, event_key, wait_group_id, expires_at from triggers
    where workflow_step_run_id is not null and job_run_id is null"""
STEP_RUNS = """
    select id, workflow_step_run_id, case when payload_id is null then payload else (select body from payloads as p
      where p.project_id = r.project_id and p.id = r.payload_id) end
    from runs as r where workflow_step_run_id is not null"""
MESSAGES = """
    select project_id, id, kind, subject_id, hops, body, case when payload_id is null then payload
      else (select p.body from payloads as p where p.project_id = m.project_id and p.id = m.payload_id) end
    from messages as m where kind <> 'cancel_runs_of_job'"""
HELD = "select id, project_id, event_key, held_until, sent_by from held_events where event_id is null"


class SeenTrigger(NamedTuple):
    id: str
    step_id: str
    event_key: str
    group_id: str
    expires_at: int


class SeenRun(NamedTuple):
    id: str
    step_id: str
    payload: str | None


class SeenMessage(NamedTuple):
    project_id: str
    id: str
    kind: str
    subject_id: str
    hops: int
    body: Mapping[str, Any]
    payload: str | None


def seen_message(
    project_id: str,
    message_id: str,
    kind: str,
    subject_id: str,
    hops: int,
    body: str | None,
    payload: str | None,
) -> SeenMessage:
    return SeenMessage(project_id, message_id, kind, subject_id, hops, json.loads(body or "{}"), payload)


Query = Callable[[str], Iterable[Sequence[Any]]]


class Seen:
    """One look at a database, taken where it is needed."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._triggers: list[SeenTrigger] | None = None
        self._runs: list[SeenRun] | None = None
        self._messages: list[SeenMessage] | None = None
        #: Those that were read, and are consumed by now.
        self.told: list[SeenMessage] = []

    def triggers_of(self, workflow_run_id: str) -> list[SeenTrigger]:
        if self._triggers is None:
            self._triggers = sorted(SeenTrigger(*row) for row in self._query(STEP_TRIGGERS))
        return [row for row in self._triggers if row.step_id.startswith(f"{workflow_run_id}:")]

    def take_trigger(self, step_id: str, prefix: str, known: Collection[str]) -> SeenTrigger:
        """The first that is not known yet."""
        for row in self.triggers_of(step_id.partition(":")[0]):
            if row.step_id == step_id and row.event_key.startswith(prefix) and row.id not in known:
                return row
        raise Violation(f"no wait {prefix} was opened for the step {step_id}")

    def take_group(
        self, step_id: str, keys: Sequence[str], known: Collection[str]
    ) -> list[SeenTrigger] | None:
        """Those of the first wait group under these keys, None if there is none."""
        groups: dict[str, list[SeenTrigger]] = {}
        for row in self.triggers_of(step_id.partition(":")[0]):
            if row.step_id == step_id and row.id not in known:
                groups.setdefault(row.group_id, []).append(row)
        return next((rows for rows in groups.values() if [row.event_key for row in rows] == keys), None)

    def take_run(self, step_id: str, known: Collection[str]) -> SeenRun:
        if self._runs is None:
            self._runs = sorted(SeenRun(*row) for row in self._query(STEP_RUNS))
        for row in self._runs:
            if row.step_id == step_id and row.id not in known:
                return row
        raise Violation(f"no run was made for the step {step_id}")

    def messages(self) -> list[SeenMessage]:
        if self._messages is None:
            self._messages = sorted(seen_message(*row) for row in self._query(MESSAGES))
        return self._messages

    def take_message(
        self, project_id: str, kind: str, subject_id: str, body: Mapping[str, Any], known: Collection[str]
    ) -> SeenMessage:
        wanted = (project_id, kind, subject_id)
        for row in sorted([*self.told, *self.messages()], key=lambda row: row.id):
            same = (row.project_id, row.kind, row.subject_id) == wanted and row.id not in known
            if same and all(row.body.get(name) == value for name, value in body.items()):
                return row
        raise Violation(f"no message {kind} to {subject_id} was written that says {dict(body)}")

    def find_held(self, held: Held, known: Collection[str]) -> str | None:
        """Of several that were kept under one key in one commit some may be taken already: so also by who sent it."""
        wanted = [held.project_id, held.event_key, held.held_until, held.sent_by]
        ids = (row[0] for row in self._query(HELD) if list(row[1:]) == wanted)
        return min((each for each in ids if each not in known), default=None)


NOTHING_SEEN = Seen(lambda text: ())
