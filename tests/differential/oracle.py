"""The whole model: it is told each commit of a side with what came of it, says what had to come out, and
after it what the database has to hold. Its rules stand in `tests/simulation` (waits, runs) and beside it
(deliveries, access); here is how it is asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

from narrows.errors import Refusal
from narrows.storage.committed import Committed
from narrows.storage.operation import Undecided
from tests.differential.access_oracle import AccessModel
from tests.differential.sides import WAITING_PER_PROJECT, Commit, Rows
from tests.differential.tables import TABLES
from tests.simulation.comparing import adopt_ids, compare
from tests.simulation.run_comparing import compare_runs, learn_pause
from tests.simulation.values import Violation
from tests.simulation.workflow_comparing import compare_workflows
from tests.simulation.workflow_seen import HELD, MESSAGES, STEP_RUNS, STEP_TRIGGERS, Seen, seen_message

#: What of a row the model knows, in the order of `row()` of its values.
WAIT_COLUMNS = (
    "project_id", "id", "event_key", "ordinal", "version", "status", "response_payload", "timeout_secs",
    "requested_at", "expires_at", "settled_at", "sent_by",
)  # fmt: skip
HELD_COLUMNS = (
    "project_id", "id", "event_key", "event_id", "status", "payload", "held_until", "trigger_id",
)  # fmt: skip
RUN_COLUMNS = (
    "project_id", "id", "job_id", "status", "version", "priority", "attempt", "dispatch", "due_at", "holder",
    "replay_of", "finished_at", "payload", "result", "state", "wait_group_id",
)  # fmt: skip
DELIVERY_COLUMNS = (
    "trigger_id", "kind", "url", "status", "attempts", "last_status", "created_at", "due_at", "finished_at",
)  # fmt: skip
WORKFLOW_RUN_COLUMNS = (
    "project_id", "id", "workflow_id", "workflow_version", "status", "steps", "parent_run_id", "depth", "hops",
    "retry_of", "due_at", "finished_at", "payload",
)  # fmt: skip
STEP_COLUMNS = (
    "workflow_run_id", "step_ref", "status", "attempt", "output", "votes", "run_id", "child_run_id", "wait_group_id",
)  # fmt: skip
WAIT_GROUP_COLUMNS = ("workflow_run_id", "id", "trigger_ids", "needed", "has_veto")
MESSAGE_COLUMNS = ("project_id", "id", "kind", "subject_id", "hops", "body", "payload")
KEY_COLUMNS = ("id", "project_id", "expires_at", "revoked_at", "replaced_by")


class Oracle(AccessModel):
    """One for a sequence."""

    def has_room(self, project_id: str, more: int) -> bool:
        waiting = sum(
            wait.status == "waiting" for wait in self.waits.values() if wait.project_id == project_id
        )
        return waiting + more <= WAITING_PER_PROJECT

    def take(self, commit: Commit) -> None:
        """Whatever shared a commit, in its order. Raises Violation."""
        self.seen = seen_in(commit.committed)
        self.begin_batch(commit.committed.now, commit.wall, *commit.came_due)
        for operation, outcome in zip(commit.operations, commit.outcomes, strict=True):
            self.place += 1
            if isinstance(outcome.error, Undecided):
                continue
            if outcome.error is not None and not isinstance(outcome.error, Refusal):
                raise Violation(f"{operation} failed: {outcome.error!r}")
            came = outcome.value if outcome.error is None else outcome.error
            try:
                problem = self.differs(self.expect(operation, outcome.value), came)
            except Violation:
                raise
            except Exception as error:
                raise Violation(f"the model cannot follow {operation}, which came out as {came}") from error
            if problem:
                raise Violation(f"{type(operation).__name__}: {problem}")
        self.end_batch()
        self._learn(commit)

    def _learn(self, commit: Commit) -> None:
        """What the database alone knows: ids that no answer holds, and what is left to chance."""
        adopt_ids(self, commit.committed.held_events)
        for each in commit.committed.runs:
            run = self.runs.get(each.id)
            if run is not None:
                learn_pause(run, each.due_at)
        self.learn_deliveries(commit.committed.deliveries)

    # ---- what the database has to hold ----

    def check(self, rows: Rows) -> None:
        """Compare with every row of every table. Raises Violation."""
        texts = {(project_id, payload_id): body for project_id, payload_id, body, _ in rows["payloads"]}
        triggers = _picked(rows, "triggers", WAIT_COLUMNS, texts)
        counters = [row[:-1] for row in rows["counters"]]
        compare(self, triggers, _picked(rows, "held_events", HELD_COLUMNS, texts), counters)
        groups = {(row[0], row[1]): row[6] for row in rows["wait_groups"]}
        runs = [
            (*row[:-1], groups.get((row[0], row[-1]))) for row in _picked(rows, "runs", RUN_COLUMNS, texts)
        ]
        compare_runs(self, runs, [row[1:] for row in rows["run_counters"]])
        self._check_workflows(rows, texts)
        self._check_notified(rows)
        self._check_access(rows)

    def _check_workflows(self, rows: Rows, texts: dict[tuple[str, str], str]) -> None:
        groups = _picked(rows, "wait_groups", WAIT_GROUP_COLUMNS, {})
        messages = [seen_message(*row) for row in _picked(rows, "messages", MESSAGE_COLUMNS, texts)]
        compare_workflows(
            self,
            _picked(rows, "workflow_runs", WORKFLOW_RUN_COLUMNS, texts),
            _picked(rows, "steps", STEP_COLUMNS, texts),
            [row[1:] for row in groups if row[0] is not None],
            [row[1:] for row in rows["workflow_run_counters"]],
            [message for message in messages if message.kind != "cancel_runs_of_job"],
        )
        live = Counter(run.project_id for run in self.workflow_runs.values() if not run.has_ended)
        found = Counter({row[0]: row[-1] for row in rows["counters"] if row[-1]})
        _check_same("workflow runs that go on", sorted(live.items()), sorted(found.items()))

    def _check_notified(self, rows: Rows) -> None:
        found = sorted(_picked(rows, "deliveries", DELIVERY_COLUMNS, {}))
        expected = sorted(each.row() for each in self.deliveries.values())
        _check_same("deliveries", expected, found)
        shown = {row[0]: row[1] for row in _picked(rows, "triggers", ("id", "notify_status"), {})}
        for trigger_id, status in shown.items():
            if status != self.notified.get(trigger_id):
                raise Violation(f"{trigger_id} shows {status}, and not {self.notified.get(trigger_id)}")

    def _check_access(self, rows: Rows) -> None:
        _check_same("projects", sorted(self.projects), sorted(row[0] for row in rows["projects"]))
        keys = sorted(each.row() for each in self.keys.values())
        _check_same("API keys", keys, sorted(_picked(rows, "api_keys", KEY_COLUMNS, {})))
        urls = sorted(each for each in self.callbacks.items() if each[1] in self.waits)
        found = _picked(rows, "callback_urls", ("token_hash", "trigger_id"), {})
        _check_same("callback URLs", urls, sorted(found))
        tokens = sorted((name, each.trigger_id) for name, each in self.tokens.items())
        found = _picked(rows, "stream_tokens", ("token_hash", "trigger_id"), {})
        _check_same("stream tokens", tokens, sorted(found))


def seen_in(committed: Committed) -> Seen:
    """The ids that the model learns are those of what a commit has made."""
    rows: dict[str, list[tuple[Any, ...]]] = {
        STEP_TRIGGERS: [
            (each.id, each.workflow_step_run_id, each.event_key, each.wait_group_id, each.expires_at)
            for each in committed.triggers
            if each.workflow_step_run_id is not None and each.job_run_id is None
        ],
        STEP_RUNS: [
            (each.id, each.workflow_step_run_id, each.payload)
            for each in committed.runs
            if each.workflow_step_run_id is not None
        ],
        MESSAGES: [
            (each.project_id, each.id, each.kind, each.subject_id, each.hops, each.body, each.payload)
            for each in committed.messages
        ],
        HELD: [
            (each.id, each.project_id, each.event_key, each.held_until, each.sent_by)
            for each in committed.held_events
            if each.event_id is None
        ],
    }
    return Seen(rows.__getitem__)


def _check_same(noun: str, expected: list[Any], found: list[Any]) -> None:
    if expected != found:
        surplus = [each for each in found if each not in expected]
        missing = [each for each in expected if each not in found]
        raise Violation(f"{noun}: the database has {surplus}, and there had to be {missing}")


def _picked(
    rows: Rows, table: str, columns: tuple[str, ...], texts: dict[tuple[str, str], str]
) -> list[tuple[Any, ...]]:
    """These columns; a text that has a row of its own stands in its place."""
    there_are = TABLES[table].columns
    places = [there_are.index(name) for name in columns]
    ids = [there_are.index(f"{name}_id") if f"{name}_id" in there_are else None for name in columns]
    return [
        tuple(
            row[place] if at is None or row[at] is None else texts.get((row[0], row[at]))
            for place, at in zip(places, ids, strict=True)
        )
        for row in rows[table]
    ]
