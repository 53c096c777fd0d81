"""Faults of definitions: every one in one answer, each naming its step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.workflow_definitions import MAX_CONDITIONS, parse
from narrows.core.workflow_fields import TRUSTED, Checked
from tests.core.workflow_parsing import CHECKS, faults_of, good, job, read

# ---- what is refused ---------------------------------------------------------------------------


def test_all_faults_come_in_one_answer_each_naming_its_step() -> None:
    faults = faults_of(
        job("a", "b", "nobody"),
        job("b", "a", condition="?", on_failure="explode", retry_max_attempts=0, retry_backoff="wild"),
        {"step_ref": "b", "type": "juggle"},
        {
            "step_ref": "c",
            "type": "wait_for_event",
            "event_key": "k:{{x",
            "timeout_secs": -1,
            "expected_schema": 1,
        },
        {"type": "sleep"},
        "no step",
        {"step_ref": "d", "type": "job", "output_transform": "x", "on_timeout": "explode"},
        slug="Not A Slug",
        tags={"a": 1},
        timeout_secs="x",
    )
    expected = [
        "The workflow has a wrong 'slug'",
        "The workflow has wrong 'tags'",
        "The workflow has a wrong 'timeout_secs'",
        "Step 'a' depends on 'nobody'",
        "Step 'b' has a wrong 'condition': it holds nonsense",
        "Step 'b' has an unknown 'on_failure'",
        "Step 'b' has a wrong 'retry_max_attempts'",
        "Step 'b' has an unknown 'retry_backoff'",
        "Steps number 2 and 3 have the same 'step_ref' 'b'",
        "Step 'b' has an unknown 'step_type'",
        "Step 'c' has a wrong 'event_key'",
        "Step 'c' has a wrong 'event_timeout_secs'",
        "Step 'c' has a wrong 'expected_schema': it is no schema",
        "Step number 5 has no 'step_ref'",
        "Step number 5 must have one of 'sleep_duration_secs'",
        "Step number 6 must be an object",
        "Step 'd' must name its job",
        "Step 'd' has a wrong 'output_transform': it is no JSONPath",
        "Step 'd' has a wrong 'on_timeout'",
        "The steps 'a' -> 'b' -> 'a' depend on each other in a circle".replace("'", ""),
    ]
    for start in expected:
        assert [fault for fault in faults if fault.startswith(start)], start
    assert len(faults) == len(expected)
    assert all(fault.endswith(".") for fault in faults)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"job_slug": None}, "must name its job"),
        ({"job_id": "x"}, "must name its job"),
        ({"payload": [1]}, "payload"),
        ({"payload": "x{{y}}"}, "payload"),
        ({"payload": {"{{y}}": 1}}, "payload"),
        ({"type": "job", "step_type": "job"}, "one field"),
        ({"depends_on": "a"}, "depends_on"),
        ({"depends_on": ["b", "b"]}, "twice"),
        ({"depends_on": [1]}, "depends_on"),
        ({"depends_on": ["a"]}, "itself"),
        ({"condition": "x" * 1_001}, "condition"),
        ({"retry_max_attempts": True}, "retry_max_attempts"),
        ({"on_timeout": {"default": 1, "more": 2}}, "on_timeout"),
        ({"event_emit_key": "x" * 600}, "512"),
        ({"event_emit_key": "a\n{{x}}"}, "control"),
        ({"type": "wait_for_event"}, "event_key"),
        ({"type": "wait_for_event", "event_key": ""}, "event_key"),
        ({"type": "wait_for_event", "event_key": "é" * 300}, "600 bytes"),
        ({"type": "wait_for_event", "event_key": "k", "timeout_secs": 31_536_001}, "timeout_secs"),
        ({"type": "wait_for_event", "event_key": "k", "event_notify_url": "ftp://x"}, "event_notify_url"),
        ({"type": "wait_for_any"}, "event_keys"),
        ({"type": "wait_for_any", "event_keys": []}, "event_keys"),
        ({"type": "wait_for_any", "event_keys": ["a", "a"]}, "twice"),
        ({"type": "wait_for_any", "event_keys": ["a", "b{{"]}, "event_keys"),
        ({"type": "wait_for_any", "event_keys": ["a"], "count": 2}, "count"),
        ({"type": "wait_for_all", "event_keys": ["a"], "distinct_by": "a b"}, "distinct_by"),
        ({"type": "wait_for_all", "event_keys": ["a"], "veto": "?"}, "veto"),
        ({"type": "sleep", "sleep_duration_secs": 0}, "sleep_duration_secs"),
        ({"type": "sleep", "sleep_duration": "soon"}, "sleep_duration"),
        ({"type": "sleep", "sleep_duration": "0s"}, "sleep_duration"),
        ({"type": "sleep", "sleep_duration": "1h", "until": "{{x}}"}, "one of"),
        ({"type": "approval", "approvers": ["a"], "min_approvals": 2}, "approvals"),
        ({"type": "approval", "timeout_secs": 1, "approval_timeout_secs": 2}, "one field"),
        ({"type": "sub_workflow"}, "workflow_slug"),
        ({"step_ref": "a.b"}, "step_ref"),
        ({"step_ref": "-a"}, "step_ref"),
        ({"step_ref": "x" * 101}, "step_ref"),
    ],
)
def test_a_fault_of_one_step(fields: dict[str, Any], fault: str) -> None:
    faults = faults_of(job("b"), {**job("a"), **fields})
    assert len(faults) == 1, faults
    assert fault in faults[0]


@pytest.mark.parametrize("steps", [None, [], {}, [job(f"s{n}") for n in range(1_001)]])
def test_a_workflow_has_1_to_1000_steps(steps: Any) -> None:
    assert parse({"slug": "w", "steps": steps}, CHECKS).faults == (
        "The workflow has wrong 'steps': it must be a list of 1 to 1000 steps.",
    )


def test_all_conditions_of_a_definition_have_a_bound_and_beyond_it_none_is_looked_at() -> None:
    """To read 858 KB of them took 11 s, in which the library held Python's lock."""
    looked_at: list[str] = []

    def noting(text: str) -> Checked:
        looked_at.append(text)
        return Checked()

    steps = [job(f"s{number}", condition=f"{number:01000}") for number in range(200)]
    checks = TRUSTED._replace(condition=noting)
    parsed = parse({"slug": "w", "steps": steps}, checks)
    assert len(parsed.faults) == 1
    assert parsed.faults[0].startswith(
        "The workflow has different conditions and vetoes of more than 64 Ki char"
    )
    assert len(looked_at) == MAX_CONDITIONS // 1_000
    # What stands often is read once.
    same = "x" * 1_000
    waits = [
        {"step_ref": f"s{n}", "type": "wait_for_event", "event_key": "k", "condition": same, "veto": same}
        for n in range(200)
    ]
    assert parse({"slug": "w", "steps": waits}, checks).faults == ()


@pytest.mark.parametrize("given", [None, [], "x", 1])
def test_a_definition_is_an_object(given: Any) -> None:
    assert parse(given, CHECKS).faults == ("The definition must be an object.",)


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": {"x": "{{parent_outputs.c.x}}"}},
        {"condition": "c"},
        {"event_emit_key": "{{parent_outputs.c.x}}"},
        {"type": "wait_for_any", "event_keys": ["{{parent_outputs.c.x}}"]},
        {"type": "wait_for_any", "event_keys": ["k"], "veto": "c"},
    ],
)
def test_a_step_looks_only_at_what_has_ended_for_certain(fields: dict[str, Any]) -> None:
    faults = faults_of(job("a"), {**job("b", "a"), **fields}, job("c", "a"))
    assert len(faults) == 1
    assert "'c', on which it does not depend" in faults[0]
    good(job("c"), job("a", "c"), {**job("b", "a"), **fields})
    assert "no step of this workflow" in faults_of(job("a"), {**job("b", "a"), **fields})[0]


def test_fields_that_mean_nothing_are_noted_and_no_fault() -> None:
    parsed = read(job("a", depnds_on=["b"], event_key="k"), stepz=1)
    assert parsed.definition is not None
    assert len(parsed.notes) == 3
    assert all(
        any(name in note for note in parsed.notes) for name in ("'depnds_on'", "'event_key'", "'stepz'")
    )


def test_several_circles_are_all_told() -> None:
    faults = faults_of(job("a", "b"), job("b", "a"), job("c", "d"), job("d", "c"), job("e", "c"))
    assert len(faults) == 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "steps",
                        "step_ref",
                        "type",
                        "depends_on",
                        "event_keys",
                        "payload",
                        "slug",
                        "on_timeout",
                        "tags",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_is_sent_the_answer_is_a_definition_or_sentences(given: Any) -> None:
    for checks in (CHECKS, TRUSTED):
        parsed = parse(given, checks)
        assert (parsed.definition is None) == bool(parsed.faults)
