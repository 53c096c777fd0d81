"""Reads of workflows, their runs and steps: lists against a model that filters in Python, outputs, timelines,
and the plans of the lists."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from narrows.core.records import Fact
from narrows.core.states import StepStatus, WorkflowRunStatus
from narrows.core.workflow_records import Workflow, WorkflowRun, WorkflowVersion
from narrows.errors import InvalidRequest, NotFound
from narrows.operations.reads import (
    DueWorkflowRuns,
    GetWorkflow,
    GetWorkflowRun,
    GetWorkflowVersion,
    ListWorkflowRuns,
    ListWorkflows,
    ShowWorkflowRuns,
    WorkflowRunSteps,
    WorkflowRunTimeline,
    paging,
    workflow_runs,
)
from tests.operations.reads_kit import NOW, Reads
from tests.operations.runs_kit import make_group, put
from tests.operations.workflows_kit import make_run, make_step, make_workflow

MEBIBYTE = "7" * (1 << 20)
TAGS = ('{"team":"red"}', '{"team":"blue","size":"1"}', None)
FILTERS: list[dict[str, Any]] = [
    {},
    {"status": "running"},
    {"workflow": "one"},
    {"workflow": "two", "status": "failed"},
    {"tag": "team"},
    {"tag": "team:red", "workflow": "one"},
    {"parent": "top"},
    {"parent": "top", "workflow": "one", "status": "failed", "tag": "team:blue"},
    {"parent": "nobody"},
    {"workflow": "no-such-workflow"},
]


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    return Reads(tmp_path / "store.db")


# ---- workflows -----------------------------------------------------------------------------------


def test_a_workflow_is_found_by_slug_and_id_with_its_newest_version(reads: Reads) -> None:
    workflow = make_workflow(reads.new_id(NOW), "flow", version=2)
    versions = [WorkflowVersion("p", workflow.id, number, f'{{"n":{number}}}', NOW) for number in (1, 2)]
    reads.insert("workflows", [workflow])
    reads.insert("workflow_versions", versions)
    for named in ("flow", workflow.id):
        assert reads.read(GetWorkflow("p", named)) == (workflow, versions[1])
    assert reads.read(GetWorkflowVersion("p", workflow.id, 1)) == versions[0]
    for missing in (GetWorkflow("p", "other"), GetWorkflow("q", "flow"), GetWorkflow("q", workflow.id)):
        with pytest.raises(NotFound):
            reads.read(missing)
    for project_id, number in (("p", 3), ("q", 1)):
        with pytest.raises(NotFound):
            reads.read(GetWorkflowVersion(project_id, workflow.id, number))


def test_a_deleted_workflow_is_not_found_but_its_versions_are(reads: Reads) -> None:
    workflow = make_workflow(reads.new_id(NOW), "flow", deleted_at=NOW)
    reads.insert("workflows", [workflow])
    reads.insert("workflow_versions", [WorkflowVersion("p", workflow.id, 1, "{}", NOW)])
    for named in ("flow", workflow.id):
        with pytest.raises(NotFound):
            reads.read(GetWorkflow("p", named))
    assert reads.read(GetWorkflowVersion("p", workflow.id, 1)).definition == "{}"
    assert reads.read(ListWorkflows("p")).items == ()


def test_workflows_are_listed_newest_first_by_pages(reads: Reads) -> None:
    workflows = [make_workflow(reads.new_id(NOW + number), f"flow-{number}") for number in range(25)]
    workflows[7] = workflows[7]._replace(deleted_at=NOW)
    reads.insert("workflows", workflows)
    found: list[Workflow] = []
    cursor = None
    while True:
        page = reads.read(ListWorkflows("p", limit=10, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [each for each in reversed(workflows) if each.deleted_at is None]


# ---- runs ----------------------------------------------------------------------------------------


def fill(reads: Reads, count: int) -> tuple[list[WorkflowRun], dict[str, str]]:
    """Runs of three workflows, and the slugs of these by id."""
    chance = random.Random(7)
    workflows = [make_workflow(reads.new_id(NOW), slug) for slug in ("one", "two", "three")]
    reads.insert("workflows", workflows)
    runs = [
        make_run(
            reads.new_id(NOW + number),
            chance.choice(workflows).id,
            status=chance.choice((WorkflowRunStatus.RUNNING, WorkflowRunStatus.FAILED)),
            tags=chance.choice(TAGS),
            parent_run_id=chance.choice(("top", "other", None)),
        )
        for number in range(count)
    ]
    reads.insert("workflow_runs", runs)
    return runs, {each.id: each.slug for each in workflows}


def pages(reads: Reads, limit: int, **filters: Any) -> Iterator[WorkflowRun]:
    cursor = None
    while True:
        page = reads.read(ListWorkflowRuns(project_id="p", limit=limit, cursor=cursor, **filters))
        assert len(page.items) <= limit
        assert page.has_more == (page.next_cursor is not None)
        yield from page.items
        if not page.has_more:
            return
        cursor = page.next_cursor


def holds(run: WorkflowRun, slug: str, **filters: Any) -> bool:
    tags = json.loads(run.tags or "{}")
    name, colon, value = filters.get("tag", "").partition(":")
    return (
        ("tag" not in filters or (name in tags and (not colon or tags[name] == value)))
        and filters.get("workflow") in (None, slug)
        and filters.get("status") in (None, run.status)
        and filters.get("parent") in (None, run.parent_run_id)
    )


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_the_list_has_what_a_model_finds(reads: Reads, filters: dict[str, Any], limit: int) -> None:
    runs, slugs = fill(reads, 120)
    expected = [run.id for run in reversed(runs) if holds(run, slugs[run.workflow_id], **filters)]
    assert [run.id for run in pages(reads, limit, **filters)] == expected
    assert reads.read(ListWorkflowRuns(project_id="q", **filters)).items == ()


def test_runs_of_a_deleted_workflow_are_listed_by_its_id(reads: Reads) -> None:
    workflow = make_workflow(reads.new_id(NOW), "flow", deleted_at=NOW)
    reads.insert("workflows", [workflow])
    run = make_run(reads.new_id(NOW), workflow.id)
    reads.insert("workflow_runs", [run])
    by_id, by_slug = [
        reads.read(ListWorkflowRuns(project_id="p", workflow=named)) for named in (workflow.id, "flow")
    ]
    assert (by_id.items, by_slug.items) == ((run,), ())


@pytest.mark.parametrize("filters", [{}, {"workflow": "one"}])
def test_a_filter_looks_at_a_bounded_number_of_rows(
    reads: Reads, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any]
) -> None:
    monkeypatch.setattr(paging, "LOOKS", (5, 15))
    runs, slugs = fill(reads, 100)
    passed = [run for run in reversed(runs) if filters.get("workflow") in (None, slugs[run.workflow_id])]
    page = reads.read(ListWorkflowRuns(project_id="p", status="paused", **filters))
    assert (page.items, page.has_more, page.next_cursor) == ((), True, passed[14].id)
    assert list(pages(reads, 50, status="paused", **filters)) == []


def test_a_run_that_went_on_while_it_was_looked_up_is_left_out() -> None:
    failed = make_run("r", status=WorkflowRunStatus.FAILED, tags='{"team":"red:team"}')
    asked: list[tuple[dict[str, Any], bool]] = [
        ({}, True), ({"status": "failed"}, True), ({"status": "running"}, False), ({"tag": "team"}, True),
        ({"tag": "red"}, False),
    ]  # fmt: skip
    for filters, fits in asked:
        assert ListWorkflowRuns(project_id="p", **filters)._holds(failed) == fits


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("list_workflows_page", "PRIMARY KEY (project_id=? AND id>? AND id<?)"),
        ("list_workflow_runs_page", "sqlite_autoindex_workflow_runs_1 (project_id=? AND id>? AND id<?)"),
        (
            "list_workflow_runs_of_workflow_page",
            "workflow_runs_workflow (project_id=? AND (workflow_id,id)>",
        ),
        ("list_workflow_runs_of_parent_page", "workflow_runs_parent (project_id=? AND parent_run_id>?"),
        ("steps_of_workflow_run", "(project_id=? AND workflow_run_id=?)"),
        ("due_workflow_runs", "workflow_runs_due"),
    ],
)
def test_a_list_walks_along_its_index(reads: Reads, statement: str, index: str) -> None:
    plan = reads.plan(statement)
    assert index in plan[0]
    assert not [line for line in plan if "SCAN" in line and "workflow_runs_due" not in line]


def test_a_page_ends_at_its_size(reads: Reads) -> None:
    reads.insert("payloads", [("p", str(number), MEBIBYTE, 1) for number in range(12)])
    runs = [make_run(reads.new_id(NOW + number), payload_id=str(number)) for number in range(12)]
    reads.insert("workflow_runs", runs)
    page = reads.read(ListWorkflowRuns(project_id="p", limit=100))
    assert [run.payload for run in page.items] == [MEBIBYTE] * 8
    rest = reads.read(ListWorkflowRuns(project_id="p", limit=100, cursor=page.next_cursor))
    assert [run.id for run in (*page.items, *rest.items)] == [run.id for run in reversed(runs)]


def test_a_run_comes_with_its_payload_and_only_in_its_project(reads: Reads) -> None:
    reads.insert("payloads", [("p", "large", '"large"', 1)])
    reads.insert("workflow_runs", [make_run("r", payload_id="large"), make_run("small", payload="1")])
    assert reads.read(GetWorkflowRun("p", "r")).payload == '"large"'
    assert reads.read(GetWorkflowRun("p", "small")).payload == "1"
    for project_id, run_id in (("q", "r"), ("p", "no")):
        with pytest.raises(NotFound):
            reads.read(GetWorkflowRun(project_id, run_id))


def test_a_run_is_shown_with_its_workflow_and_the_step_that_it_belongs_to(reads: Reads) -> None:
    reads.insert("workflows", [make_workflow("w", "flow"), make_workflow("v", "below", deleted_at=NOW)])
    reads.insert("steps", [make_step("top", 0, "first"), make_step("top", 1, "second")])
    reads.insert("payloads", [("p", "large", '"large"', 1)])
    top = make_run("top", payload_id="large")
    runs = (top, make_run("a", "v", parent_run_id="top", parent_step=1), make_run("b", "v", parent_run_id="gone",
            parent_step=0))  # fmt: skip
    shown = reads.read(ShowWorkflowRuns(runs))
    assert [(each.workflow_slug, each.parent_step_ref) for each in shown] == [
        ("flow", None), ("below", "second"), ("below", None),
    ]  # fmt: skip
    assert shown[0].run.payload == '"large"'
    assert reads.read(ShowWorkflowRuns(())) == ()


# ---- steps ---------------------------------------------------------------------------------------


def test_steps_come_in_the_order_of_the_definition_with_their_outputs(reads: Reads) -> None:
    reads.insert("payloads", [("p", "large", '"large"', 1)])
    reads.insert("workflow_runs", [make_run("r"), make_run("other")])
    done = {"status": StepStatus.COMPLETED}
    reads.insert("steps", [
        make_step("r", 2, "c", **done, output_id="large"), make_step("r", 0, "a", **done, output="1"),
        make_step("r", 10, "b"), make_step("other", 1, "z"),
    ])  # fmt: skip
    run, steps, with_output, event_keys = reads.read(WorkflowRunSteps("p", "r"))
    assert (run.id, with_output, event_keys) == ("r", 3, {})
    assert [(step.step_ref, step.output) for step in steps] == [("a", "1"), ("c", '"large"'), ("b", None)]
    one = reads.read(WorkflowRunSteps("p", "r", "c"))
    assert [step.output for step in one.steps] == ['"large"']
    assert reads.read(WorkflowRunSteps("p", "r", "never-began")).steps == ()
    for project_id, run_id in (("q", "r"), ("p", "no")):
        with pytest.raises(NotFound):
            reads.read(WorkflowRunSteps(project_id, run_id))


def test_outputs_are_left_out_beyond_the_size_of_a_reply(reads: Reads) -> None:
    reads.insert("payloads", [("p", str(number), MEBIBYTE, 1) for number in range(12)])
    reads.insert("workflow_runs", [make_run("r")])
    done = {"status": StepStatus.COMPLETED}
    reads.insert(
        "steps", [make_step("r", n, f"s{n}", output_id=str(n) if n else None, **done) for n in range(12)]
    )
    _, steps, with_output, _ = reads.read(WorkflowRunSteps("p", "r"))
    assert with_output == 9
    assert [step.output for step in steps] == [None, *[MEBIBYTE] * 8, None, None, None]
    assert reads.read(WorkflowRunSteps("p", "r", "s11")).steps[0].output == MEBIBYTE


def test_a_step_that_waits_tells_its_keys_in_their_order(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    triggers = [reads.trigger(key) for key in "abc"]
    ids = [triggers[place].id for place in (2, 0, 1)]
    groups = [
        make_group("open", "", *ids, "purged"),
        make_group("over", "", ids[1]),
        make_group("one", "", ids[0]),
    ]
    put(reads, groups)
    reads.insert("workflow_runs", [make_run("r")])
    reads.insert("steps", [
        make_step("r", 0, "waits", status=StepStatus.WAITING, wait_group_id="open"),
        make_step("r", 1, "done", status=StepStatus.COMPLETED, wait_group_id="over"),
        make_step("r", 2, "also", status=StepStatus.WAITING, wait_group_id="one"),
    ])  # fmt: skip
    assert reads.read(WorkflowRunSteps("p", "r")).event_keys == {0: ("c", "a", "b"), 2: ("c",)}
    monkeypatch.setattr(workflow_runs, "MAX_KEYS_OF_STEP", 2)
    assert reads.read(WorkflowRunSteps("p", "r")).event_keys == {0: ("c", "a"), 2: ("c",)}
    monkeypatch.setattr(workflow_runs, "MAX_KEYS", 2)
    assert reads.read(WorkflowRunSteps("p", "r")).event_keys == {0: ("c", "a"), 2: ()}


# ---- timeline, due -------------------------------------------------------------------------------


def test_the_timeline_is_one_chain_through_the_run_and_its_steps(reads: Reads) -> None:
    facts: list[Fact] = []
    for number in range(25):
        subject = "r" if number % 3 == 0 else f"r:step-{number}"
        facts.append(reads.fact("step.queued", subject, facts[-1].id if facts else None, NOW + number))
    elsewhere = reads.fact("run.queued", "job-run-of-a-step", facts[3].id, NOW + 30)
    reads.insert("workflow_runs", [make_run("r", last_fact_id=facts[-1].id), make_run("empty")])
    found: list[Fact] = []
    cursor = None
    while True:
        page = reads.read(WorkflowRunTimeline(project_id="p", workflow_run_id="r", limit=10, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        assert reads.reader.asked[-1][1]["steps"] == 11  # it goes on where the page before ended
        if cursor is None:
            break
    assert found == facts[::-1]
    # The id of another chain's fact is a place in time and no more.
    page = reads.read(WorkflowRunTimeline(project_id="p", workflow_run_id="r", cursor=elsewhere.id))
    assert page.items[0] == facts[-1]
    assert reads.read(WorkflowRunTimeline(project_id="p", workflow_run_id="empty")).items == ()
    with pytest.raises(NotFound):
        reads.read(WorkflowRunTimeline(project_id="p", workflow_run_id="unknown"))
    with pytest.raises(InvalidRequest):
        reads.read(WorkflowRunTimeline(project_id="p", workflow_run_id="unknown", cursor="yesterday"))


def test_what_is_due_first_comes_first_over_all_projects(reads: Reads) -> None:
    runs = [
        make_run("late", due_at=NOW + 3), make_run("never"), make_run("ended", status=WorkflowRunStatus.COMPLETED),
        make_run("soon", due_at=NOW + 1), make_run("other", project_id="q", due_at=NOW + 2),
    ]  # fmt: skip
    reads.insert("workflow_runs", runs)
    due = reads.read(DueWorkflowRuns(limit=2))
    assert due == [("p", "soon", NOW + 1, 2), ("q", "other", NOW + 2, 2)]
    assert (due[0].project_id, due[0].id, due[0].due_at) == ("p", "soon", NOW + 1)
    assert [each.id for each in reads.read(DueWorkflowRuns(limit=10))] == ["soon", "other", "late"]
