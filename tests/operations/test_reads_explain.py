"""Near keys and explanations: what a person reads who asks why nothing happened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.records import NEVER
from narrows.operations.reads import Explain, NearKeys, NearWaits
from narrows.operations.reads.near import common_length, edits_between, kinship
from narrows.operations.reads.times import moment_of, span_of, text_of
from tests.operations.reads_kit import NOW, SECOND, Reads, make_trigger

WRITTEN = "2026-11-23T20:40:44Z"


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    return Reads(tmp_path / "store.db")


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("approval:1", "Approval:1"),
        ("Approval:1", "approval:1"),
        ("ORDER:42", "order:42"),
        ("order:42", "payment:42"),
        ("prod/user/7", "staging/user/7"),
        ("a:b:42", "x:y:42"),
        ("42", "order:42"),
        ("order:42", "42"),
        ("order:42/", "order:42"),
        ("order:42", "order:42/"),
        (" order:42", "order:42"),
        ("oorder:42", "order:42"),
        ("roder:42", "order:42"),
        ("ordr:42", "order:42"),
        ("order:421", "order:412"),
        ("order-42", "order_42"),
        ("order:0042", "order:42"),
    ],
)
def test_near_keys_are_found_among_many_others(reads: Reads, asked: str, there: str) -> None:
    others = [f"{family}:{number}" for family in ("job", "mail", "zone") for number in range(900, 1_300)]
    reads.insert("triggers", [make_trigger(reads.new_id(NOW), key) for key in (*others, there)])
    assert reads.read(NearKeys("p", asked)) == [there]


def test_the_likeliest_spellings_are_tried_first_among_many_families(reads: Reads) -> None:
    rows = [make_trigger(reads.new_id(NOW), f"user:{number:05}:approval") for number in range(1_000)]
    reads.insert("triggers", rows)
    reads.trigger("User:00400:Approval2")
    assert reads.read(NearKeys("p", "user:00400:approval2"))[0] == "User:00400:Approval2"
    assert "user:00400:approval" in reads.read(NearKeys("p", "usr:00400:approval"))


def test_nothing_near_is_nothing_said(reads: Reads) -> None:
    assert reads.read(NearKeys("p", "order:42")) == []
    for key in ("a", "unlike", "z"):
        reads.trigger(key)
    assert reads.read(NearKeys("p", "order:42")) == []
    assert reads.read(NearKeys("q", "unlikf")) == []


def test_the_nearest_come_first_and_at_most_five(reads: Reads) -> None:
    for number in range(20):
        reads.trigger(f"order:42-{number}")
    reads.trigger("Order:42")
    reads.trigger("mail:42")
    reads.trigger("order:43", status="canceled")
    found = reads.read(NearKeys("p", "order:42"))
    assert found[:2] == ["Order:42", "mail:42"]
    assert len(found) == 5
    assert "order:43" in reads.read(NearKeys("p", "order:42", waiting_only=False))
    assert reads.read(NearWaits("p", "order:42"))[1] == (
        "A wait is open under 'mail:42': it has the same end after another prefix."
    )


def test_near_keys_cost_the_same_among_many(reads: Reads) -> None:
    """Five milliseconds, with much room for a busy machine; a scan would take a hundred times longer."""
    rows = (make_trigger(reads.new_id(NOW), f"tenant-{n % 977}:order:{n:07}") for n in range(100_000))
    reads.insert("triggers", rows)
    reads.read(NearKeys("p", "x"))
    best_secs = min(_seconds(reads, f"Tenant-{n}:order:{n:07}") for n in range(5))
    assert best_secs < 0.02
    for statement in (
        "keys_after",
        "keys_before",
        "key_from",
        "unmatched_keys_after",
        "unmatched_keys_before",
    ):
        lines = [line for line in reads.plan(statement) if line.startswith("SCAN") and "ONSTANT" not in line]
        assert set(lines) <= {"SCAN n"}, lines
    assert "SEARCH u USING PRIMARY KEY (project_id=? AND id=?)" in reads.plan("unmatched_by_key")


def _seconds(reads: Reads, key: str) -> float:
    started = time.perf_counter()
    assert reads.read(NearKeys("p", key))
    return time.perf_counter() - started


def test_unknown_keys_are_explained_too(reads: Reads) -> None:
    found = reads.read(Explain("p", "order:42"))
    assert found.lines[0] == "Nothing waits or has waited under 'order:42', or it has been purged."
    assert len(found.lines) == 2
    assert found[1:] == (None, (), (), 0)


def test_an_event_under_another_spelling_is_told(reads: Reads) -> None:
    wait = reads.trigger("Approval:1", NOW - 10 * SECOND)
    reads.unmatched("approval:1", NOW - 5 * SECOND)
    found = reads.read(Explain("p", "Approval:1"))
    assert found.trigger == wait
    assert found.lines[0] == (
        f"The wait {wait.id}, opened at 2026-11-23T20:40:34Z, has been open for 10 s; it times out at "
        "2026-11-23T21:40:34Z."
    )
    assert found.lines[1] == (
        "An event came at 2026-11-23T20:40:39Z under 'approval:1' and settled nothing: it differs by upper "
        "and lower case."
    )
    back = reads.read(Explain("p", "approval:1"))
    assert back.near_keys == ("Approval:1",)
    assert "A wait is open under 'Approval:1': it differs by upper and lower case." in back.lines


def test_late_early_and_refused_events_are_told(reads: Reads) -> None:
    wait = reads.trigger("k", status="timed_out", error="no event within 1 s", settled_at=NOW + SECOND)
    reads.unmatched("k", NOW - 3 * SECOND)
    reads.unmatched("k", NOW, "schema", trigger_id=wait.id, detail="/a is not a number.")
    reads.unmatched("k", NOW + 4 * SECOND, "settled", trigger_id=wait.id, late_us=2_500_000)
    reads.unmatched("k", NOW + 5 * SECOND, "type", trigger_id="other")
    found = reads.read(Explain("p", "k"))
    assert found.lines == (
        f"The wait {wait.id} timed out at 2026-11-23T20:40:45Z, 1 s after it was opened: no event within 1 s.",
        f"An event came at 2026-11-23T20:40:48Z, 2.5 s too late: the wait {wait.id} was settled by then.",
        (
            f"An event came at {WRITTEN} and the expected schema of the wait {wait.id} refused it: "
            "/a is not a number."
        ),
        "An event came at 2026-11-23T20:40:49Z, but the trigger other takes no events.",
        (
            "An event came at 2026-11-23T20:40:41Z, 3 s before the wait was opened, and was not held; send it "
            "with hold_secs."
        ),
    )
    assert [event.reason for event in found.unmatched] == ["type", "settled", "schema", "no_wait"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "received", "sent_by": "key:1"}, "received its event at 2026-11-23T20:40:45Z, 1 s after it was opened, sent by key:1."),
        ({"status": "canceled", "error": "canceled by user"}, "was canceled at 2026-11-23T20:40:45Z, 1 s after it was opened: canceled by user."),
        ({"expires_at": NOW}, f", opened at {WRITTEN}, is overdue since {WRITTEN} and about to time out."),
        ({"expires_at": NEVER}, f", opened at {WRITTEN}, has been open for 0 ms and has no time-out."),
    ],
)  # fmt: skip
def test_every_state_has_a_verdict(reads: Reads, changes: dict[str, Any], said: str) -> None:
    wait = reads.trigger("k", **changes)
    line = reads.read(Explain("p", "k")).lines[0]
    assert line in (f"The wait {wait.id}{said}", f"The wait {wait.id} {said}")


def test_held_events_and_the_timeline_are_told(reads: Reads) -> None:
    reads.held("k")
    held = reads.read(Explain("p", "k"))
    assert held.held_count == 1
    assert (
        held.lines[1]
        == "One event is held for the next wait under the key, the first until 2026-11-23T21:40:44Z."
    )
    fact = reads.fact("trigger.opened", "t", None)
    reads.trigger("k", last_fact_id=fact.id)
    found = reads.read(Explain("p", "k"))
    assert "did not fit" in found.lines[1]
    assert found.lines[-1] == f"{WRITTEN}: trigger.opened by dev."


def _edits(one: str, other: str) -> int:
    """The textbook's table, with swaps of neighbours."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        rows.append([i])
        for j, b in enumerate(other, 1):
            cost = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                cost = min(cost, rows[i - 2][j - 2] + 1)
            rows[i].append(cost)
    return rows[-1][-1]


words = st.text("ab:", max_size=7)


@given(words, words)
def test_edits_are_counted_as_the_textbook_does(one: str, other: str) -> None:
    edits = _edits(one, other)
    found = edits_between(one, other)
    assert found == (edits if edits <= 2 else None)


@given(words, words)
def test_kinship_is_never_with_itself(one: str, other: str) -> None:
    assert kinship(one, one) is None
    assert one[: common_length(one, other)] == other[: common_length(one, other)]
    assert (kinship(one, other) is None) or one != other


@given(st.integers(-60_000_000_000_000_000, NEVER - 1))
def test_times_come_back(at: int) -> None:
    assert moment_of(text_of(at)) == at


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23T20:40:44Z", NOW),
        ("2026-11-23t21:40:44.5+01:00", NOW + 500_000),
        ("2026-11-23 20:40:44.1234567Z", NOW + 123_456),
        ("2026-11-23T20:40:44", None),
        ("2026-11-23T25:40:44Z", None),
        ("now", None),
    ],
)
def test_times_are_read(text: str, at: int | None) -> None:
    assert moment_of(text) == at


def test_spans_read_well() -> None:
    spans = (0, 3, 120_000, 2_500_000, 90_000_000, 35 * 60 * SECOND, 5 * 3600 * SECOND, 3 * 86_400 * SECOND)
    assert [span_of(span) for span in spans] == [
        "0 ms", "1 ms", "120 ms", "2.5 s", "90 s", "35 min", "5 h", "3 days",
    ]  # fmt: skip
