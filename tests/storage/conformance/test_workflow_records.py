"""Workflows, their runs and steps as they are kept: every column comes back as it was saved, a change writes
what may change, large texts stand once, and what a record leads to is at hand with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from narrows.core.ids import make_id
from narrows.core.records import NEVER, HeldEvent, Payload, Root
from narrows.core.run_records import Message, Run, WaitGroup
from narrows.core.states import (
    GroupMode,
    HeldStatus,
    MessageKind,
    OnEnd,
    RunStatus,
    StepStatus,
    StepType,
    WorkflowRunStatus,
)
from narrows.core.workflow_records import Step, Workflow, WorkflowRun, WorkflowVersion
from narrows.errors import InternalError
from narrows.operations.reads import CountWorkflowRuns
from narrows.storage.lookups import TABLES, Touch
from narrows.storage.transaction import Transaction
from tests.storage.kit import BACKENDS, PROJECT, Backend, Bench, opened
from tests.storage.records import SaveRecords

FACT, LATER = make_id(1, 1, 1), make_id(2, 1, 1)
WORKFLOW = Workflow(PROJECT, "w", "slug", "name", "about", '{"a":"b"}', 3, 4, 5, None)
VERSION = WorkflowVersion(PROJECT, "w", 3, '{"definition":1.0}', 6)
RUN = WorkflowRun(
    PROJECT, "r", "w", 3, 7, WorkflowRunStatus.PAUSED, "pqrw", '"payload"', None, "error", '{"c":"d"}', "parent",
    2, 1, 8, "retried", "dev", 9, NEVER, None, FACT, "top",
)  # fmt: skip
STEP = Step(
    PROJECT, "r", 3, "r:ref", "ref", StepType.JOB, 11, StepStatus.WAITING, 12, '"output"', None, "error", "[]", "job-run",
    "child", "group", 13, 14, None, FACT,
)  # fmt: skip
GROUP = WaitGroup(
    PROJECT, "group", "r", "", GroupMode.ANY, 1, "[]", OnEnd.END, OnEnd.RESUME, 15, "r", '["voter"]', 1
)
HELD = HeldEvent(PROJECT, "h", "key", "once", HeldStatus.HELD, "1", None, 16, 17, None, "dev", 18)
MESSAGE = Message(PROJECT, "m", MessageKind.EMIT_EVENT, "key", None, 19, 20, '{"body":1}', '"payload"', None)
RUN_OF_STEP = Run(
    PROJECT, "job-run", "j", 1, RunStatus.COMPLETED, 0, 1, 1, 300, 3, "r", "r", "r:ref", None, None, None, None, None, None,
    None, None, None, None, None, None, "dev", 1, None, None, 2, 3, None,
)  # fmt: skip
#: What is saved, and each key by which it is found.
FOUND_BY: list[tuple[Any, Touch]] = [
    (WORKFLOW, ("workflows_by_id", PROJECT, "w")),
    (WORKFLOW, ("workflows_by_slug", PROJECT, "slug")),
    (VERSION, ("workflow_versions_by_id", PROJECT, "w", "3")),
    (RUN, ("workflow_runs_by_id", PROJECT, "r")),
    (STEP, ("steps_by_number", PROJECT, "r", "3")),
    (STEP, ("steps_by_ref", PROJECT, "r", "ref")),
    (GROUP, ("wait_groups_by_id", PROJECT, "group")),
    (HELD, ("held_by_key", PROJECT, "key")),
    (HELD, ("held_by_event_id", PROJECT, "key", "once")),
    (HELD, ("held_by_id", PROJECT, "h")),
    (MESSAGE, ("messages_by_id", PROJECT, "m")),
    (Payload(PROJECT, "p", '"body"', 2), ("payloads_by_id", PROJECT, "p")),
]


@dataclass(frozen=True, slots=True)
class Doing:
    """An operation that does what the test says, with these touches."""

    background: ClassVar[bool] = False
    size_bytes: ClassVar[int] = 0

    touched: tuple[Touch, ...]
    do: Callable[[Transaction], Any]

    def touches(self) -> list[Touch]:
        return list(self.touched)

    def apply(self, tx: Transaction) -> Any:
        return self.do(tx)


@pytest.fixture(params=BACKENDS)
def unsound(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A database for records that hang together with nothing."""
    found = BACKENDS[request.param](tmp_path)
    try:
        yield found
    finally:
        found.close()


async def _save(bench: Bench, *records: Any) -> None:
    await bench.perform(SaveRecords(records=records))


async def _change(bench: Bench, touch: Touch, new: Any) -> None:
    await bench.perform(Doing((touch,), lambda tx: tx.save(new)))


@pytest.mark.parametrize(("record", "touch"), FOUND_BY, ids=[touch[0] for _, touch in FOUND_BY])
async def test_every_column_comes_back_as_it_was_saved(unsound: Backend, record: Any, touch: Touch) -> None:
    async with opened(unsound) as bench:
        await _save(bench, record)
        (row,) = await bench.rows(touch[0], touch[1:])
        assert type(record)(*row) == record
        other = (*touch[1:-1], "9" if touch[-1].isdigit() else "other")
        assert await bench.rows(touch[0], other) == []


CHANGED: list[tuple[Any, Any, Touch]] = [
    (
        WORKFLOW,
        Workflow(PROJECT, "w", "slug2", "name2", "about2", '{"e":"f"}', 30, 4, 50, 60),
        ("workflows_by_id", PROJECT, "w"),
    ),
    (
        RUN,
        RUN._replace(
            version=70,
            status=WorkflowRunStatus.FAILED,
            steps="cfsx",
            hops=80,
            error="error2",
            due_at=None,
            finished_at=100,
            last_fact_id=LATER,
        ),
        ("workflow_runs_by_id", PROJECT, "r"),
    ),
    (RUN, RUN._replace(version=8, due_at=NEVER - 1), ("workflow_runs_by_id", PROJECT, "r")),
    (
        STEP,
        STEP._replace(
            version=110,
            status=StepStatus.COMPLETED,
            attempt=120,
            output='"output2"',
            error="error2",
            votes="[1]",
            run_id="job-run2",
            child_run_id="child2",
            wait_group_id="group2",
            started_at=140,
            finished_at=150,
            last_fact_id=LATER,
        ),
        ("steps_by_number", PROJECT, "r", "3"),
    ),
]


@pytest.mark.parametrize(("record", "changed", "touch"), CHANGED)
async def test_a_change_writes_every_column_that_may_change(
    unsound: Backend, record: Any, changed: Any, touch: Touch
) -> None:
    other = record._replace(**{"step": 4, "id": "r:other"} if isinstance(record, Step) else {"id": "other"})
    if isinstance(other, Workflow):
        other = other._replace(slug="other")
    async with opened(unsound) as bench:
        await _save(bench, record, other)
        await _change(bench, touch, changed)
        (row,) = await bench.rows(touch[0], touch[1:])
        assert type(record)(*row) == changed
        of_other = TABLES[type(other)].identity(other)
        (row,) = await bench.rows(touch[0], of_other)
        assert type(record)(*row) == other


async def test_a_workflow_run_that_has_ended_is_changed_by_nothing(unsound: Backend) -> None:
    ended = RUN._replace(status=WorkflowRunStatus.FAILED, due_at=None, finished_at=100)
    async with opened(unsound) as bench:
        await _save(bench, ended)
        with pytest.raises(InternalError):
            await _change(bench, ("workflow_runs_by_id", PROJECT, "r"), RUN._replace(version=8))
        (row,) = await bench.rows("workflow_runs_by_id", (PROJECT, "r"))
        assert WorkflowRun(*row) == ended


@pytest.mark.parametrize(
    ("record", "touch", "text"),
    [
        (RUN._replace(payload_id="p"), ("workflow_runs_by_id", PROJECT, "r"), "payload"),
        (STEP._replace(output_id="p"), ("steps_by_number", PROJECT, "r", "3"), "output"),
        (MESSAGE._replace(payload_id="p"), ("messages_by_id", PROJECT, "m"), "payload"),
    ],
)
async def test_a_text_that_has_a_row_of_its_own_stands_there_alone(
    unsound: Backend, record: Any, touch: Touch, text: str
) -> None:
    async with opened(unsound) as bench:
        await _save(bench, record)
        (row,) = await bench.rows(touch[0], touch[1:])
        assert type(record)(*row) == record._replace(**{text: None})


async def test_an_output_that_comes_later_stands_in_its_own_row_alone(unsound: Backend) -> None:
    later = STEP._replace(version=12, output='"large"', output_id="p")
    async with opened(unsound) as bench:
        await _save(bench, STEP._replace(output=None))
        await _change(bench, ("steps_by_number", PROJECT, "r", "3"), later)
        (row,) = await bench.rows("steps_by_number", (PROJECT, "r", "3"))
        assert Step(*row) == later._replace(output=None)


async def test_runs_are_counted_by_state(unsound: Backend) -> None:
    runs = [RUN._replace(id=f"r{number}") for number in range(3)]
    async with opened(unsound) as bench:
        await _save(bench, runs[0]._replace(status=WorkflowRunStatus.RUNNING), *runs[1:])
        await _save(bench, RUN._replace(id="r3", workflow_id="other"))
        await bench.perform(Doing((("workflow_runs_by_id", PROJECT, "r1"),), lambda tx: tx.delete(runs[1])))
        counts = await bench.store.read(CountWorkflowRuns())
        assert counts == {**{str(status): 0 for status in WorkflowRunStatus}, "running": 1, "paused": 2}


async def test_a_slug_is_that_of_the_workflow_which_has_it_now(unsound: Backend) -> None:
    touched = (("workflows_to_change_by_slug", PROJECT, "slug"), ("workflows_to_change", PROJECT, "w"))

    def rename(tx: Transaction) -> list[Workflow | None]:
        tx.save(WORKFLOW._replace(slug="new"))
        tx.save(WORKFLOW._replace(id="w2"))
        tx.save(WORKFLOW._replace(id="w3", project_id="elsewhere", slug="third"))
        return [tx.workflow_by_slug(PROJECT, slug) for slug in ("slug", "new", "third")]

    def delete(tx: Transaction) -> Workflow | None:
        found = tx.workflow_by_slug(PROJECT, "slug")
        assert found is not None
        tx.save(found._replace(deleted_at=1))
        return tx.workflow_by_slug(PROJECT, "slug")

    async with opened(unsound) as bench:
        await _save(bench, WORKFLOW)
        renamed = WORKFLOW._replace(slug="new")
        assert await bench.perform(Doing(touched, rename)) == [WORKFLOW._replace(id="w2"), renamed, None]
        assert await bench.perform(Doing(touched, delete)) is None
        # A deleted one has given it up, and keeps its row.
        await _save(bench, WORKFLOW._replace(id="w4"))
        (row,) = await bench.rows("workflows_by_slug", (PROJECT, "slug"))
        assert Workflow(*row).id == "w4"
        assert len(await bench.rows("workflows_by_id", (PROJECT, "w2"))) == 1


async def test_a_wait_of_a_step_has_its_workflow_run_and_its_group_at_hand(unsound: Backend) -> None:
    run, root = RUN._replace(due_at=None), Root(PROJECT, "r", "workflow_run", 1, None, 0)

    def look(tx: Transaction) -> Any:
        return tx.workflow_run(PROJECT, "r"), tx.root(PROJECT, "r"), tx.wait_group(PROJECT, "group")

    async with opened(unsound) as bench:
        wait = SaveRecords.wait(
            "key", root_id="r", workflow_run_id="r", workflow_step_run_id="r:ref", wait_group_id="group"
        )
        trigger = await bench.perform(wait)
        group = GROUP._replace(trigger_ids=f'["{trigger.id}"]')
        queued = RUN_OF_STEP._replace(id="queued", status=RunStatus.QUEUED, finished_at=None)
        await _save(bench, run, root, group, STEP._replace(step_type=StepType.APPROVAL), RUN_OF_STEP, queued)
        leads_to: dict[Touch, Any] = {
            ("triggers_by_id", PROJECT, trigger.id): (run, root, group),
            ("triggers_by_key", PROJECT, "key"): (run, root, group),
            # Whoever decides it ends its wait.
            ("steps_by_number", PROJECT, "r", "3"): (run, root, group),
            # Retention asks whether its root lives; a claim of a queued one asks nothing.
            ("runs_by_id", PROJECT, "job-run"): (None, root, None),
            ("queued_runs_by_job", PROJECT, "j", "1"): (None, None, None),
        }
        for touch, expected in leads_to.items():
            assert await bench.perform(Doing((touch,), look)) == expected


async def test_what_is_at_hand_is_found_by_its_place_and_by_its_name(unsound: Backend) -> None:
    def look(tx: Transaction) -> Any:
        return (
            tx.workflow(PROJECT, "w"),
            tx.workflow_version(PROJECT, "w", 3),
            tx.step(PROJECT, "r", 3),
            tx.payload(PROJECT, "p"),
        )

    payload = Payload(PROJECT, "p", '"body"', 2)
    touches: dict[Touch, Any] = {
        ("workflows_by_id", PROJECT, "w"): (WORKFLOW, None, None, None),
        ("workflow_versions_by_id", PROJECT, "w", "3"): (None, VERSION, None, None),
        ("steps_by_number", PROJECT, "r", "3"): (None, None, STEP, None),
        ("steps_by_ref", PROJECT, "r", "ref"): (None, None, STEP, None),
        ("payloads_by_id", PROJECT, "p"): (None, None, None, payload),
    }
    async with opened(unsound) as bench:
        await _save(bench, WORKFLOW, VERSION, STEP._replace(workflow_run_id="q", id="q:ref"), STEP, payload)
        for touch, expected in touches.items():
            assert await bench.perform(Doing((touch,), look)) == expected
        every = Doing((*touches, ("steps_by_number", PROJECT, "q", "3")), look)
        assert await bench.perform(every) == (WORKFLOW, VERSION, STEP, payload)
