"""What retention looks at: every old row once in a pass, a bounded number for each commit, along an index."""

from __future__ import annotations

from pathlib import Path

import pytest

from narrows.core.records import Root
from narrows.core.states import DeliveryStatus, RunStatus, WorkflowRunStatus
from narrows.operations.reads.retention import START, OutputsOf, Prunable, RowPlace
from tests.operations import workflows_kit
from tests.operations.reads_kit import NOW, SECOND, Reads, make_trigger
from tests.operations.runs_kit import make_run, put

BEFORE = NOW + 100 * SECOND


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    return Reads(tmp_path / "store.db")


def _pass(reads: Reads, table: str, limit: int) -> tuple[list[RowPlace], list[RowPlace]]:
    """What the looks of one pass find, and the places at which they begin."""
    found, places = [], [START]
    while True:
        going, last = reads.read(Prunable(table, BEFORE, limit, places[-1]))
        assert len(going) <= limit
        found += going
        if last is None:
            return found, places
        places.append(last)


def _projects(reads: Reads, *ids: str) -> None:
    reads.insert("projects", [(each, None, NOW) for each in ids])


def test_what_a_living_root_keeps_is_passed_once(reads: Reads) -> None:
    _projects(reads, "p", "q")
    reads.insert("roots", [Root("p", "living", "run", NOW, None, 0), Root("p", "ended", "run", NOW, NOW, 0)])
    kept = [
        make_trigger(reads.new_id(NOW), f"k{number}", status="received", root_id="living")
        for number in range(10_000)
    ]
    reads.insert("triggers", kept)
    last = reads.trigger("last", status="canceled", root_id="ended")
    other = reads.trigger("other", status="received", project_id="q")
    found, places = _pass(reads, "triggers", 500)
    assert found == [("p", last.id), ("q", other.id)]
    assert places == [START, *(("p", each.id) for each in kept[499::500])]


def test_a_look_goes_on_over_projects(reads: Reads) -> None:
    _projects(reads, "a", "b", "none", "z")
    ids = {project: [reads.new_id(NOW) for _ in range(3)] for project in "zba"}
    for project, of_project in ids.items():
        put(reads, [make_run(each, "j", status=RunStatus.FAILED, project_id=project) for each in of_project])
    in_order = [(project, each) for project in "abz" for each in ids[project]]
    for limit in (2, 4, 9, 10):
        found, places = _pass(reads, "runs", limit)
        assert found == in_order
        assert places == [START, *in_order[limit - 1 :: limit]]


def test_what_has_not_ended_or_too_late_stays(reads: Reads) -> None:
    _projects(reads, "p")
    states = {"waiting": None, "queued": None, "failed": BEFORE, "completed": BEFORE - 1}
    runs = [
        make_run(reads.new_id(NOW), "j", status=RunStatus(status), finished_at=finished_at)
        for status, finished_at in states.items()
    ]
    put(reads, [*runs, make_run(reads.new_id(BEFORE), "j", status=RunStatus.FAILED, finished_at=BEFORE + 1)])
    assert reads.read(Prunable("runs", BEFORE, 10)) == ([("p", runs[-1].id)], None)
    assert reads.read(Prunable("runs", BEFORE, 10, ("p", runs[-1].id))) == ([], None)


def test_a_run_stays_as_long_as_the_workflow_run_that_started_it(reads: Reads) -> None:
    _projects(reads, "p")
    ends = {"living": None, "ended": NOW, "gone": NOW}
    reads.insert(
        "roots", [Root("p", each, "workflow_run", NOW, ends[each], 0) for each in ("living", "ended")]
    )
    runs = {
        root: make_run(reads.new_id(NOW), "j", status=RunStatus.COMPLETED, root_id=root, workflow_run_id=root)
        for root in ends
    }
    put(reads, runs.values())
    found, _ = _pass(reads, "runs", 10)
    assert found == [("p", runs[root].id) for root in ("ended", "gone")]


def test_steps_count_like_rows_where_they_go_with_their_workflow_run(reads: Reads) -> None:
    _projects(reads, "p", "q")
    ids = [reads.new_id(NOW) for _ in range(6)]
    steps = ("ccc", "p", "c", "cc", "c" * 1_000, "c")
    for run_id, letters in zip(ids, steps, strict=True):
        status = WorkflowRunStatus.RUNNING if letters == "p" else WorkflowRunStatus.FAILED
        project_id = "q" if run_id == ids[-1] else "p"
        reads.insert(
            "workflow_runs",
            [workflows_kit.make_run(run_id, status=status, steps=letters, project_id=project_id)],
        )
    looks: list[list[str]] = []
    after: RowPlace | None = START
    while after is not None:
        found, after = reads.read(Prunable("workflow_runs", BEFORE, 5, after))
        looks.append([run_id for _, run_id in found])
    # Four rows and the one that has to stay; two and three; whatever one has in any case.
    assert looks == [[ids[0]], [ids[2], ids[3]], [ids[4]], [ids[5]]]


def test_outputs_with_rows_of_their_own_are_found_with_their_workflow_runs(reads: Reads) -> None:
    outputs = {("r", 0): "o0", ("r", 1): None, ("r", 2): "o2", ("other", 0): "o3"}
    made = [
        workflows_kit.make_step(run_id, number, f"s{number}", output_id=output_id)
        for (run_id, number), output_id in outputs.items()
    ]
    reads.insert("steps", made)
    found = reads.read(OutputsOf((("p", "r"), ("q", "other"))))
    assert sorted(found) == [("p", "r", "o0"), ("p", "r", "o2")]


def test_deliveries_that_are_pending_are_passed(reads: Reads) -> None:
    _projects(reads, "p")
    ids = [reads.new_id(NOW) for _ in range(4)]
    for number, each in enumerate(ids):
        over = number % 2 == 1
        status = DeliveryStatus.DELIVERED if over else DeliveryStatus.PENDING
        ends = (None, NOW) if over else (NOW, None)
        row = ("p", each, "t", "trigger.settled", "http://x", status, 0, None, None, NOW, *ends)
        reads.insert("deliveries", [row])
    found, places = _pass(reads, "deliveries", 2)
    assert found == [("p", ids[1]), ("p", ids[3])]
    assert places == [START, ("p", ids[1]), ("p", ids[3])]


def test_a_look_is_bounded_also_where_no_project_has_anything(reads: Reads) -> None:
    _projects(reads, *(f"p{number:02}" for number in range(25)))
    last = make_run(reads.new_id(NOW), "j", status=RunStatus.FAILED, project_id="p24")
    put(reads, [last])
    found, places = _pass(reads, "runs", 10)
    assert found == [("p24", last.id)]
    assert [project_id for project_id, _ in places] == ["", "p10", "p20"]
    assert max(parameters["most"] for _, parameters in reads.reader.asked) == 11


@pytest.mark.parametrize("table", ["triggers", "runs", "workflow_runs", "deliveries"])
def test_a_look_goes_along_an_index(reads: Reads, table: str) -> None:
    assert reads.plan("projects_from") == ["SEARCH p USING PRIMARY KEY (id>?)"]
    plan = reads.plan(f"old_{table}")
    assert "(project_id=? AND id>? AND id<?)" in plan[0]
    assert not any("SCAN" in line or "B-TREE" in line for line in plan)
