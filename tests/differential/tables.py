"""What a database holds, as the comparison sees it: every table with its columns and its key, which of its
rows a statement of the writer changes, and how rows are read in the SQL that all databases share.

What is storage alone stays out: the `room` in SQLite's rows, and whose row of a counter it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from narrows.core import records, run_records, workflow_records
from narrows.storage.lookups import Mark, TriggerTag
from narrows.storage.sqlite import SqliteConnection

Row = tuple[Any, ...]


class Table(NamedTuple):
    """`columns` in the order in which they are compared; those of `summed` are added up over the writers."""

    columns: tuple[str, ...]
    key: tuple[str, ...]
    summed: tuple[str, ...] = ()


_ID = ("project_id", "id")

TABLES: dict[str, Table] = {
    "projects": Table(records.Project._fields, ("id",)),
    "api_keys": Table(records.ApiKey._fields, ("id",)),
    "jobs": Table(run_records.Job._fields, _ID),
    "roots": Table(records.Root._fields, _ID),
    "payloads": Table(records.Payload._fields, _ID),
    "workflows": Table(workflow_records.Workflow._fields, _ID),
    "workflow_versions": Table(
        workflow_records.WorkflowVersion._fields, ("project_id", "workflow_id", "version")
    ),
    "workflow_runs": Table(workflow_records.WorkflowRun._fields, _ID),
    "steps": Table(workflow_records.Step._fields, ("project_id", "workflow_run_id", "step")),
    "runs": Table(run_records.Run._fields, _ID),
    "wait_groups": Table(run_records.WaitGroup._fields, _ID),
    "run_answers": Table(run_records.RunAnswer._fields, ("project_id", "run_id", "dispatch")),
    "triggers": Table(records.Trigger._fields, _ID),
    "trigger_tags": Table(TriggerTag._fields, TriggerTag._fields),
    "held_events": Table(records.HeldEvent._fields, _ID),
    "callback_urls": Table(records.CallbackUrl._fields, ("token_hash",)),
    "stream_tokens": Table(records.StreamToken._fields, ("token_hash",)),
    "idempotency_records": Table(records.IdempotencyRecord._fields, ("scope_hash",)),
    "unmatched_events": Table(records.UnmatchedEvent._fields, _ID),
    "deliveries": Table(run_records.Delivery._fields, _ID),
    "messages": Table(run_records.Message._fields, _ID),
    "facts": Table(records.Fact._fields, _ID),
    "marks": Table(Mark._fields, ("name",)),
    "counters": Table(records.Counters._fields[:1], ("project_id",), records.Counters._fields[2:]),
    "run_counters": Table(
        run_records.RunCounters._fields[:2], ("project_id", "job_id"), run_records.RunCounters._fields[3:]
    ),
    "workflow_run_counters": Table(
        workflow_records.WorkflowRunCounters._fields[:2],
        ("project_id", "workflow_id"),
        workflow_records.WorkflowRunCounters._fields[3:],
    ),
}
#: Of keys: whatever else names a row is a text.
_NUMBERS = ("dispatch", "step", "version")
#: The columns of a table that no other database has, or that say which process wrote a row.
STORAGE_ONLY = {
    **{name: {"room"} for name in ("triggers", "runs", "workflow_runs", "steps")},
    **{name: {"writer"} for name in ("counters", "run_counters", "workflow_run_counters")},
}

#: Statement of the writer -> the table that it changes. Each of its rows begins with the table's key.
_WRITTEN: dict[str, str] = {
    "insert_projects": "projects", "update_projects": "projects",
    "insert_api_keys": "api_keys", "update_api_keys": "api_keys",
    "insert_jobs": "jobs", "update_jobs": "jobs",
    "insert_roots": "roots", "update_roots": "roots", "delete_roots": "roots",
    "insert_payloads": "payloads", "release_payloads": "payloads", "delete_released_payloads": "payloads",
    "insert_runs": "runs", "update_runs": "runs", "renew_runs": "runs", "delete_runs": "runs",
    "insert_wait_groups": "wait_groups", "delete_wait_groups": "wait_groups",
    "insert_run_answers": "run_answers",
    "insert_triggers": "triggers", "settle_triggers": "triggers", "settle_extended_triggers": "triggers",
    "extend_triggers": "triggers", "note_deliveries": "triggers", "cast_ballots": "triggers", "delete_triggers": "triggers",
    "insert_trigger_tags": "trigger_tags", "delete_trigger_tags": "trigger_tags",
    "insert_held_events": "held_events", "deliver_held_events": "held_events",
    "delete_held_events": "held_events",
    "insert_callback_urls": "callback_urls",
    "insert_stream_tokens": "stream_tokens", "update_stream_tokens": "stream_tokens",
    "delete_stream_tokens": "stream_tokens",
    "insert_idempotency_records": "idempotency_records", "update_idempotency_records": "idempotency_records",
    "delete_idempotency_records": "idempotency_records",
    "insert_unmatched_events": "unmatched_events", "delete_unmatched_events": "unmatched_events",
    "insert_deliveries": "deliveries", "update_deliveries": "deliveries", "delete_deliveries": "deliveries",
    "insert_messages": "messages", "update_messages": "messages", "delete_messages": "messages",
    "insert_facts": "facts", "delete_facts": "facts",
    "set_marks": "marks",
    "add_counters": "counters", "add_run_counters": "run_counters",
    "add_workflow_run_counters": "workflow_run_counters",
    "insert_workflows": "workflows", "update_workflows": "workflows",
    "insert_workflow_versions": "workflow_versions",
    "insert_workflow_runs": "workflow_runs", "update_workflow_runs": "workflow_runs",
    "delete_workflow_runs": "workflow_runs",
    "insert_steps": "steps", "update_steps": "steps",
}  # fmt: skip
#: Those whose rows begin with other columns, by which many rows of the table may go.
_WRITTEN_BY: dict[str, tuple[str, tuple[str, ...]]] = {
    "delete_run_answers_of_runs": ("run_answers", ("project_id", "run_id")),
    "delete_deliveries_of_triggers": ("deliveries", ("project_id", "trigger_id")),
    "delete_callback_urls_of_triggers": ("callback_urls", ("project_id", "trigger_id")),
    "delete_steps_of_workflow_runs": ("steps", ("project_id", "workflow_run_id")),
    "add_run_counters": ("run_counters", ("project_id", "job_id")),
    "add_workflow_run_counters": ("workflow_run_counters", ("project_id", "workflow_id")),
}


class Place(NamedTuple):
    """Rows of a table that have these values in these columns."""

    table: str
    columns: tuple[str, ...]
    values: Row


def places_of(statement: str, rows: Iterable[Row]) -> set[Place]:
    """Which rows a statement of the writer changes. Raises KeyError for one that nobody entered here."""
    if statement in _WRITTEN_BY:
        table, columns = _WRITTEN_BY[statement]
    else:
        table = _WRITTEN[statement]
        columns = TABLES[table].key
    return {Place(table, columns, tuple(row[: len(columns)])) for row in rows}


class Dialect(NamedTuple):
    """What databases spell differently of what is read here."""

    array_of_rows: str
    array: str
    each: str


_SQLITE = Dialect("json_group_array", "json_array", "json_each(?{})")
_POSTGRES = Dialect("json_agg", "json_build_array", "json_array_elements(cast(${} as json)) as value")


@dataclass(frozen=True, slots=True)
class LookAtRows:
    """A read past every read of ours: of each (table, columns) the rows with these values, without columns
    all that there are. One statement with one row, whose text says nothing of the values, so that it stays
    prepared."""

    wanted: tuple[tuple[str, tuple[str, ...]], ...]
    values: tuple[tuple[Row, ...], ...]

    async def run(self, reader: Any) -> list[list[Row]]:
        if not self.wanted:
            return []
        texts = [msgspec.json.encode(each).decode() for each in self.values if each]
        if isinstance(reader, SqliteConnection):
            found = next(reader.raw.execute(self._sql(_SQLITE), texts))
        else:
            (found,) = await reader.line.fetch(self._sql(_POSTGRES), *texts)
        return [[] if text is None else _rows(text) for text in found]

    def _sql(self, dialect: Dialect) -> str:
        parts, number = [], 0
        for table, columns in self.wanted:
            number += bool(columns)
            of_these = _where(columns, dialect.each.format(number)) if columns else ""
            parts.append(_one(table, of_these, dialect))
        return f"select {', '.join(parts)}"


def _one(table: str, where: str, dialect: Dialect) -> str:
    """The rows of one table as one value."""
    columns, key, summed = TABLES[table]
    names = ", ".join(f"c{number}" for number in range(len(columns) + len(summed)))
    picked = ", ".join((*columns, *(f"cast(sum({name}) as bigint)" for name in summed)))
    grouped = f" group by {', '.join(key)}" if summed else ""
    found = f"select {picked} from {table}{where}{grouped}"
    rows = f"{dialect.array_of_rows}({dialect.array}({names}))"
    return f"(with found ({names}) as ({found}) select {rows} from found)"


def _where(columns: Sequence[str], each: str) -> str:
    picked = (
        f"cast(value ->> {number} as {'bigint' if name in _NUMBERS else 'text'})"
        for number, name in enumerate(columns)
    )
    return f" where ({', '.join(columns)}) in (select {', '.join(picked)} from {each})"


_rows = msgspec.json.Decoder(list[tuple[Any, ...]]).decode
