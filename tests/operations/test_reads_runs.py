"""Reads of jobs and runs: lists against a model that filters in Python, timelines, checkpoints, and the
plans of what the engine asks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from narrows.core.ids import make_id
from narrows.core.records import Fact
from narrows.core.run_records import Message, Run, RunCounters
from narrows.core.states import MessageKind, RunStatus
from narrows.errors import InvalidRequest, NotFound
from narrows.operations.reads import (
    CountRuns,
    DueRuns,
    Executing,
    ExecutingRuns,
    GetJob,
    GetRun,
    JobsById,
    ListJobs,
    ListRuns,
    LiveRunsOfJob,
    PendingMessages,
    QueuedJobs,
    RunCheckpoint,
    RunsWithBodies,
    RunTimeline,
    WaitingFor,
    due_runs,
    paging,
)
from narrows.operations.reads.times import text_of
from tests.operations.reads_kit import NOW, SECOND, Reads
from tests.operations.runs_kit import make_group, make_job, make_run, put

TAGS = ({"team": "red"}, {"team": "blue", "size:x": "1"}, {'x"team': "red"}, None)
FILTERS: list[dict[str, Any]] = [
    {},
    {"status": "queued"},
    {"job": "one"},
    {"job": "two", "status": "failed"},
    {"tag": "team"},
    {"tag": "team:red"},
    {"tag": "size:x"},
    {"tag": "team:blue", "job": "one", "status": "queued"},
    {"job": "no-such-job"},
]


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    return Reads(tmp_path / "store.db")


def fill(reads: Reads, count: int) -> list[Run]:
    chance = random.Random(11)
    jobs = [make_job(reads.new_id(NOW), slug) for slug in ("one", "two", "three")]
    put(reads, jobs)
    runs = []
    for number in range(count):
        tags = chance.choice(TAGS)
        run = make_run(
            make_id(NOW + number // 2, number, 0),
            chance.choice(jobs).id,
            NOW + number // 2,
            status=chance.choice((RunStatus.QUEUED, RunStatus.FAILED, RunStatus.EXECUTING)),
            tags=None if tags is None else json.dumps(tags, separators=(",", ":")),
        )
        runs.append(run)
    put(reads, runs)
    return runs


def pages(reads: Reads, limit: int, **filters: Any) -> Iterator[Run]:
    cursor = None
    while True:
        page = reads.read(ListRuns(project_id="p", limit=limit, cursor=cursor, **filters))
        assert len(page.items) <= limit
        assert page.has_more == (page.next_cursor is not None)
        yield from page.items
        if not page.has_more:
            return
        cursor = page.next_cursor


def expected(runs: list[Run], jobs: dict[str, str], **filters: Any) -> list[str]:
    def holds(run: Run) -> bool:
        tags = json.loads(run.tags or "{}")
        name, colon, value = filters.get("tag", "").partition(":")
        named = "tag" not in filters or (name in tags and (not colon or tags[name] == value))
        job_fits = "job" not in filters or jobs[run.job_id] == filters["job"]
        return named and job_fits and filters.get("status") in (None, run.status)

    return [run.id for run in reversed(runs) if holds(run)]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_the_list_has_what_a_model_finds(reads: Reads, filters: dict[str, Any], limit: int) -> None:
    runs = fill(reads, 120)
    jobs = {run.job_id: reads.read(GetJob("p", run.job_id)).slug for run in runs}
    assert [run.id for run in pages(reads, limit, **filters)] == expected(runs, jobs, **filters)


def test_a_cursor_may_be_a_time_and_nothing_else(reads: Reads) -> None:
    runs = fill(reads, 40)
    page = reads.read(ListRuns(project_id="p", limit=100, cursor=text_of(runs[20].created_at)))
    assert [run.id for run in page.items] == [run.id for run in reversed(runs[:20])]
    with pytest.raises(InvalidRequest):
        reads.read(ListRuns(project_id="p", cursor="yesterday"))


def test_a_filter_looks_at_a_bounded_number_of_rows(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "LOOKS", (10, 30))
    runs = fill(reads, 100)
    page = reads.read(ListRuns(project_id="p", status="completed"))
    assert (page.items, page.has_more, page.next_cursor) == ((), True, runs[70].id)
    assert list(pages(reads, 50, status="completed")) == []


def test_a_page_ends_at_its_size(reads: Reads) -> None:
    put(reads, [make_job("j", "j")])
    mebibyte = "7" * (1 << 20)
    reads.insert("payloads", [("p", str(number), mebibyte, 1) for number in range(12)])
    ids = [reads.new_id(NOW + number) for number in range(12)]
    put(reads, [make_run(run_id, "j", payload_id=str(number)) for number, run_id in enumerate(ids)])
    page = reads.read(ListRuns(project_id="p", limit=100))
    assert [run.payload for run in page.items] == [mebibyte] * 8
    rest = reads.read(ListRuns(project_id="p", limit=100, cursor=page.next_cursor))
    assert [run.id for run in (*page.items, *rest.items)] == ids[::-1]


def test_a_run_comes_with_its_texts_and_only_in_its_project(reads: Reads) -> None:
    reads.insert("payloads", [("p", "in", "1", 1), ("p", "out", "2", 1), ("p", "kept", "3", 1)])
    put(reads, [make_run("r", "j", payload_id="in", result_id="out", state_id="kept")])
    run = reads.read(GetRun("p", "r"))
    assert (run.payload, run.result, run.state) == ("1", "2", None)
    (run,) = reads.read(RunsWithBodies((run,)))
    assert (run.payload, run.result, run.state) == ("1", "2", "3")
    for project_id, run_id in (("q", "r"), ("p", "no")):
        with pytest.raises(NotFound):
            reads.read(GetRun(project_id, run_id))


def chain(reads: Reads, run_id: str, count: int) -> list[Fact]:
    """A run with facts, oldest first."""
    facts: list[Fact] = []
    for number in range(count):
        previous_id = facts[-1].id if facts else None
        facts.append(reads.fact("run.logged", run_id, previous_id, NOW + number))
    put(reads, [make_run(run_id, "j", last_fact_id=facts[-1].id)])
    return facts


def test_the_timeline_is_the_chain_of_facts_newest_first(reads: Reads) -> None:
    facts = chain(reads, "r", 25)
    found: list[Fact] = []
    cursor = None
    while True:
        page = reads.read(RunTimeline(project_id="p", run_id="r", limit=10, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == facts[::-1]
    page = reads.read(RunTimeline(project_id="p", run_id="r", cursor=text_of(facts[5].at)))
    assert list(page.items) == facts[4::-1]
    page = reads.read(RunTimeline(project_id="p", run_id="r", cursor=facts[0].id))
    assert (page.items, page.has_more) == ((), False)


def test_a_timeline_ends_where_retention_has_cut_it(reads: Reads) -> None:
    facts = chain(reads, "r", 5)
    reads.connection.execute("delete from facts where id <= ?", (facts[1].id,))
    page = reads.read(RunTimeline(project_id="p", run_id="r"))
    assert list(page.items) == facts[:1:-1]
    with pytest.raises(NotFound):
        reads.read(RunTimeline(project_id="p", run_id="unknown"))


def test_a_checkpoint_has_the_state_and_the_triggers_in_their_order(reads: Reads) -> None:
    reads.insert("payloads", [("p", "kept", '{"step":2}', 1), ("p", "sent", '"large"', 1)])
    one = reads.trigger("a", status="received", response_payload_id="sent")
    two = reads.trigger("b")
    put(reads, [make_group("g", "r", two.id, "purged", one.id)])
    run = make_run("r", "j", status=RunStatus.WAITING, wait_group_id="g", state_id="kept")
    put(reads, [run, make_run("new", "j")])
    checkpoint = reads.read(RunCheckpoint("p", "r"))
    assert (checkpoint.state, checkpoint.mode) == ('{"step":2}', "all")
    assert checkpoint.triggers == (two, one._replace(response_payload='"large"'))
    assert reads.read(RunCheckpoint("p", "new")) == (None, None, ())
    assert reads.read(WaitingFor((run, make_run("new", "j")))) == {"r": (two.id, "purged", one.id)}


def test_a_job_is_found_by_slug_and_id_and_deleted_only_on_request(reads: Reads) -> None:
    kept, gone = make_job(reads.new_id(NOW), "same"), make_job(reads.new_id(NOW), "same", deleted_at=NOW)
    put(reads, [kept, gone])
    assert reads.read(GetJob("p", "same")) == reads.read(GetJob("p", kept.id)) == kept
    assert reads.read(GetJob("p", gone.id, even_deleted=True)) == gone
    assert reads.read(JobsById((("p", gone.id), ("p", "no")))) == {("p", gone.id): gone}
    for project_id, job in (("p", gone.id), ("p", "no"), ("q", "same"), ("q", kept.id)):
        with pytest.raises(NotFound):
            reads.read(GetJob(project_id, job))


def test_the_list_of_jobs_passes_over_the_deleted(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "LOOKS", (3, 7))
    jobs = [
        make_job(reads.new_id(NOW + number), f"job-{number}", deleted_at=None if number % 5 else NOW)
        for number in range(40)
    ]
    put(reads, jobs)
    found: list[Any] = []
    cursor = None
    while True:
        page = reads.read(ListJobs("p", limit=4, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [job for job in reversed(jobs) if job.deleted_at is None]


def test_jobs_with_queued_runs_are_found_by_probes(reads: Reads) -> None:
    jobs = [
        make_job(f"{project}{number}", f"{number}", project_id=project)
        for project in "ab"
        for number in range(4)
    ]
    put(reads, jobs)
    runs = [
        make_run(reads.new_id(NOW), job.id, project_id=job.project_id, status=status)
        for job in jobs
        for status in ([RunStatus.QUEUED] * 3 if job.slug in "12" else [RunStatus.WAITING])
    ]
    put(reads, runs)
    assert sorted(job.id for job in reads.read(QueuedJobs())) == ["a1", "a2", "b1", "b2"]
    plan = reads.plan("queued_jobs")
    touching = [line for line in plan if " r " in f"{line} "]
    assert len(touching) == 4
    assert all(line.startswith("SEARCH r USING COVERING INDEX runs_queue") for line in touching), plan
    reads.connection.execute("delete from runs")
    assert reads.read(QueuedJobs()) == ()


def test_due_runs_come_in_the_order_of_their_times(reads: Reads) -> None:
    runs = [
        make_run(f"r{number}", "j", status=status, due_at=NOW + number * SECOND, holder=f"worker:{number}")
        for number, status in enumerate([RunStatus.DELAYED, RunStatus.EXECUTING] * 3)
    ]
    put(reads, [*runs, make_run("queued", "j")])
    places = [(run.due_at, "p", run.id) for run in runs]
    assert reads.read(DueRuns()) == places
    assert (
        reads.read(DueRuns(after=(NOW + SECOND, "p", "r1"), until=NOW + 4 * SECOND, limit=2)) == places[2:4]
    )
    for statement in ("due_runs", "executing_runs"):
        assert any(
            "USING INDEX runs_due" in line or "COVERING INDEX runs_due" in line
            for line in reads.plan(statement)
        )
        assert not any("TEMP B-TREE" in line for line in reads.plan(statement))
    first = reads.read(ExecutingRuns(limit=2))
    assert first == [
        Executing(NOW + SECOND, "p", "r1", "worker:1"),
        Executing(NOW + 3 * SECOND, "p", "r3", "worker:3"),
    ]
    assert [each.run_id for each in reads.read(ExecutingRuns(limit=2, after=first[-1][:3]))] == ["r5"]


def test_live_runs_of_a_job_are_found_in_bounded_looks(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due_runs, "LOOK", 10)
    runs = [
        make_run(
            f"r{number:02}", "jx"[number % 2], status=RunStatus.FAILED if number < 30 else RunStatus.WAITING
        )
        for number in range(50)
    ]
    put(reads, runs)
    found: list[str] = []
    looks, after = 0, ""
    while True:
        ids, last = reads.read(LiveRunsOfJob("p", "j", after, "r46", 4))
        found += ids
        looks += 1
        if last is None:
            break
        after = last
    assert found == [f"r{number}" for number in range(30, 46, 2)]
    assert looks > 4


def test_runs_are_counted_over_all_projects_jobs_and_writers(reads: Reads) -> None:
    assert reads.read(CountRuns()) == dict.fromkeys(RunStatus, 0)
    put(reads, [RunCounters(p, j, w, 1, 2, 3, 4, 5, 6, 7, 8, 9) for p in "pq" for j in "ij" for w in "vw"])
    counts = reads.read(CountRuns())
    assert (counts[RunStatus.DELAYED], counts[RunStatus.DEAD_LETTER]) == (8, 72)
    assert set(counts) == set(RunStatus)


def test_messages_are_read_oldest_first(reads: Reads) -> None:
    messages = [
        Message(p, f"m{n}", MessageKind.CANCEL_RUNS_OF_JOB, "j", None, 0, NOW) for n, p in enumerate("qpq")
    ]
    put(reads, messages[::-1])
    assert reads.read(PendingMessages(2)) == tuple(messages[:2])
    assert reads.read(PendingMessages(2, ("m0", "gone"))) == tuple(messages[1:])
