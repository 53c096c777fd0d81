"""Payloads that live in rows of their own: how large they are, and their texts put back into the
triggers, runs, workflow runs, steps and held events that name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from narrows.core.records import HeldEvent, Trigger
from narrows.core.run_records import Run
from narrows.core.workflow_records import Step, WorkflowRun
from narrows.errors import NotFound
from narrows.operations.reads.paging import MAX_PAGE_BYTES
from narrows.storage.backend import Reader

#: (project id, payload id)
_Key = tuple[str, str]
#: Fields of a record: those with a payload's text, each beside the one that names its row.
_Texts = tuple[tuple[str, str], ...]
_R = TypeVar("_R", Trigger, Run, WorkflowRun, Step)

_OF_TRIGGER: Final = (("request_payload", "request_payload_id"), ("response_payload", "response_payload_id"))
#: What a run was given and what it gave; what it keeps for itself is for its handler alone.
_OF_RUN: Final = (("payload", "payload_id"), ("result", "result_id"))
_OF_RUN_AND_STATE: Final = (*_OF_RUN, ("state", "state_id"))
_OF_WORKFLOW_RUN: Final = (("payload", "payload_id"),)
_OF_STEP: Final = (("output", "output_id"),)


@dataclass(frozen=True, slots=True)
class LoadBodies:
    """The triggers with their payload texts, in one look for all of them."""

    triggers: tuple[Trigger, ...]

    async def run(self, reader: Reader) -> tuple[Trigger, ...]:
        return await with_bodies(reader, self.triggers)


@dataclass(frozen=True, slots=True)
class LoadSchema:
    """The text of an expected schema."""

    project_id: str
    payload_id: str

    async def run(self, reader: Reader) -> str:
        rows = await reader.load("payloads_by_id", [(self.project_id, self.payload_id)])
        if not rows:
            raise NotFound("The expected schema is gone together with its trigger.")
        text: str = rows[0][2]
        return text


async def with_bodies(reader: Reader, triggers: Sequence[Trigger]) -> tuple[Trigger, ...]:
    return await _with_texts(reader, triggers, _OF_TRIGGER)


async def with_run_bodies(reader: Reader, runs: Sequence[Run], *, state: bool = False) -> tuple[Run, ...]:
    """The runs with their payloads and results, and on request with what they keep."""
    return await _with_texts(reader, runs, _OF_RUN_AND_STATE if state else _OF_RUN)


async def with_payload(reader: Reader, runs: Sequence[WorkflowRun]) -> tuple[WorkflowRun, ...]:
    return await _with_texts(reader, runs, _OF_WORKFLOW_RUN)


async def with_outputs(reader: Reader, steps: Sequence[Step]) -> tuple[Step, ...]:
    return await _with_texts(reader, steps, _OF_STEP)


async def with_payloads(reader: Reader, events: Sequence[HeldEvent]) -> tuple[HeldEvent, ...]:
    keys = {(event.project_id, event.payload_id) for event in events if event.payload_id}
    if not keys:
        return tuple(events)
    bodies = await _bodies(reader, keys)
    return tuple(
        event._replace(payload=bodies.get((event.project_id, event.payload_id)))
        if event.payload_id
        else event
        for event in events
    )


async def fitting_triggers(reader: Reader, triggers: Sequence[Trigger]) -> int:
    """How many of the triggers, from the first, stay within the size of a page; at least one."""
    sizes = await _sizes(reader, {key for trigger in triggers for key in _named(trigger)})
    return _fitting(
        len(trigger.request_payload or "")
        + len(trigger.response_payload or "")
        + sum(sizes.get(key, 0) for key in _named(trigger))
        for trigger in triggers
    )


async def fitting_runs(reader: Reader, runs: Sequence[Run]) -> int:
    """The same for runs."""
    sizes = await _sizes(reader, {key for run in runs for key in _named_by(run)})
    return _fitting(
        len(run.payload or "") + len(run.result or "") + sum(sizes.get(key, 0) for key in _named_by(run))
        for run in runs
    )


async def fitting_workflow_runs(reader: Reader, runs: Sequence[WorkflowRun]) -> int:
    """The same for workflow runs."""
    return await _fitting_texts(reader, [(run.project_id, run.payload, run.payload_id) for run in runs])


async def fitting_outputs(reader: Reader, steps: Sequence[Step]) -> int:
    """The same for the outputs of steps."""
    return await _fitting_texts(reader, [(step.project_id, step.output, step.output_id) for step in steps])


async def _fitting_texts(reader: Reader, texts: Sequence[tuple[str, str | None, str | None]]) -> int:
    """The same for (project id, text at hand, payload id)."""
    sizes = await _sizes(reader, {(project_id, named) for project_id, _, named in texts if named})
    return _fitting(
        len(text or "") + sizes.get((project_id, named or ""), 0) for project_id, text, named in texts
    )


async def fitting_events(reader: Reader, events: Sequence[HeldEvent]) -> int:
    """The same for held events."""
    return await _fitting_texts(
        reader, [(event.project_id, event.payload, event.payload_id) for event in events]
    )


def _fitting(sizes_bytes: Iterable[int]) -> int:
    total = count = 0
    for size in sizes_bytes:
        total += size
        if count and total > MAX_PAGE_BYTES:
            break
        count += 1
    return count


def _named(trigger: Trigger) -> list[_Key]:
    """All payload rows that a reply with this trigger has in it."""
    ids = (trigger.request_payload_id, trigger.response_payload_id, trigger.expected_schema_id)
    return [(trigger.project_id, payload_id) for payload_id in ids if payload_id]


def _named_by(run: Run) -> list[_Key]:
    """All payload rows that a list with this run has in it."""
    return [(run.project_id, payload_id) for payload_id in (run.payload_id, run.result_id) if payload_id]


async def _with_texts(reader: Reader, records: Sequence[_R], texts: _Texts) -> tuple[_R, ...]:
    """The records with the texts that are not at hand, in one look for all of them."""
    keys = {key for record in records for key in _absent(record, texts).values()}
    if not keys:
        return tuple(records)
    bodies = await _bodies(reader, keys)
    return tuple(_filled(record, texts, bodies) for record in records)


def _filled(record: _R, texts: _Texts, bodies: dict[_Key, str]) -> _R:
    found: dict[str, Any] = {field: bodies.get(key) for field, key in _absent(record, texts).items()}
    return record._replace(**found)


def _absent(record: Any, texts: _Texts) -> dict[str, _Key]:
    return {
        field: (record.project_id, payload_id)
        for field, naming in texts
        if (payload_id := getattr(record, naming)) and getattr(record, field) is None
    }


async def _bodies(reader: Reader, keys: Iterable[_Key]) -> dict[_Key, str]:
    rows = await reader.load("payloads_by_id", sorted(keys))
    return {(project_id, payload_id): text for project_id, payload_id, text, _ in rows}


async def _sizes(reader: Reader, keys: set[_Key]) -> dict[_Key, int]:
    if not keys:
        return {}
    rows = await reader.load("payload_bytes_by_id", sorted(keys))
    return {(project_id, payload_id): size for project_id, payload_id, size in rows}
