"""Definitions: every field with its aliases and defaults, and every fault in one answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.graphs import members
from narrows.core.json_texts import loads
from narrows.core.states import Backoff, OnFailure, StepType
from narrows.core.templates import Template
from narrows.core.workflow_definitions import (
    Definition,
    Parsed,
    expression_steps,
    output_steps,
    parse,
    unresolved_placeholders,
)
from narrows.core.workflow_fields import TRUSTED, Checked, Checks, duration
from narrows.core.workflow_steps import Approval, EventWait, JobWork, Sleep, SubWorkflow

CHECKS = Checks(
    condition=lambda text: (
        Checked("holds nonsense", frozenset()) if text == "?" else Checked(None, frozenset(text.split()))
    ),
    json_path=lambda text: None if text.startswith("$") else "is no JSONPath",
    schema=lambda text: "is no schema" if text == "1" else None,
)


def _job(ref: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {"step_ref": ref, "job_slug": "j", "depends_on": list(depends_on), **fields}


def _parse(*steps: Any, **fields: Any) -> Parsed:
    return parse({"slug": "w", "steps": list(steps), **fields}, CHECKS)


def _good(*steps: Any, **fields: Any) -> Definition:
    parsed = _parse(*steps, **fields)
    assert parsed.faults == ()
    assert parsed.definition is not None
    return parsed.definition


def _faults(*steps: Any, **fields: Any) -> tuple[str, ...]:
    parsed = _parse(*steps, **fields)
    assert parsed.definition is None
    return parsed.faults


def _source(template: Template | None) -> str:
    assert template is not None
    return "".join(each if isinstance(each, str) else each.source for each in template.pieces)


# ---- what is read ------------------------------------------------------------------------------


def test_the_defaults_of_a_job_step() -> None:
    step = _good({"step_ref": "a", "job_id": "j1"}).steps[0]
    assert step.type == StepType.JOB
    assert step.work == JobWork("j1", None, None)
    assert step.depends_on == ()
    assert step.condition is None
    assert step.on_failure == OnFailure.FAIL_WORKFLOW
    assert step.default_output is None
    assert (step.max_attempts, step.attempts) == (None, 1)
    assert (step.backoff, step.first_pause_secs) == (Backoff.EXPONENTIAL, 1)
    assert step.output_transform is None
    assert step.emit_key is None


def test_every_field_that_all_steps_have() -> None:
    step = _good(
        _job("a"),
        _job(
            "b",
            "a",
            condition="a",
            on_failure="continue",
            on_timeout={"default": loads('{"x":1.50}')},
            retry_max_attempts=5,
            retry_backoff="linear",
            retry_delay_secs=30,
            output_transform="$.x",
            event_emit_key="done:{{parent_outputs.b.id}}",
            payload={"n": "{{payload.n}}"},
        ),
    ).steps[1]
    assert (step.condition, step.condition_steps) == ("a", frozenset({"a"}))
    assert step.on_failure == OnFailure.CONTINUE
    assert step.default_output == '{"x":1.50}'
    assert (step.attempts, step.backoff, step.first_pause_secs) == (5, Backoff.LINEAR, 30)
    assert step.output_transform == "$.x"
    assert _source(step.emit_key) == "done:{{parent_outputs.b.id}}"
    assert isinstance(step.work, JobWork)
    assert _source(step.work.payload) == '{"n":{{payload.n}}}'


@pytest.mark.parametrize("name", ["step_type", "type"])
@pytest.mark.parametrize("secs", ["event_timeout_secs", "timeout_secs"])
def test_a_wait_for_an_event(name: str, secs: str) -> None:
    step = _good(
        {
            "step_ref": "w",
            name: "wait_for_event",
            "event_key": "aml:{{payload.user_id}}",
            secs: 60,
            "expected_schema": {"type": "object"},
            "request_payload": {"id": "{{user_id}}"},
            "event_notify_url": "https://example.com/{{user_id}}",
        }
    ).steps[0]
    work = step.work
    assert isinstance(work, EventWait)
    assert [_source(key) for key in work.keys] == ["aml:{{payload.user_id}}"]
    assert (work.needed, work.timeout_secs, work.expected_schema) == (1, 60, '{"type":"object"}')
    assert (work.distinct_by, work.veto) == (None, None)
    assert len(step.templates) == 3


def test_a_wait_lasts_an_hour_unless_it_says_otherwise_and_0_is_for_ever() -> None:
    waits = [
        {"step_ref": "w", "type": "wait_for_event", "event_key": "k", **more}
        for more in ({}, {"timeout_secs": 0})
    ]
    secs = [
        step.work.timeout_secs
        for wait in waits
        for step in _good(wait).steps
        if isinstance(step.work, EventWait)
    ]
    assert secs == [3_600, 0]


@pytest.mark.parametrize(
    ("fields", "secs"),
    [
        ({"sleep_duration_secs": 5}, 5),
        ({"sleep_duration": "30m"}, 1_800),
        ({"sleep_duration": "24h"}, 86_400),
        ({"sleep_duration": "7d"}, 604_800),
        ({"sleep_duration": "1d2h3m4s"}, 93_784),
    ],
)
def test_a_sleep(fields: dict[str, Any], secs: int) -> None:
    assert _good({"step_ref": "s", "type": "sleep", **fields}).steps[0].work == Sleep(secs, None)


def test_a_sleep_until_a_time_from_a_template() -> None:
    work = _good({"step_ref": "s", "type": "sleep", "until": "{{payload.at}}"}).steps[0].work
    assert isinstance(work, Sleep)
    assert _source(work.until) == "{{payload.at}}"


@pytest.mark.parametrize(("name", "secs"), [(None, 0), ("approval_timeout_secs", 60), ("timeout_secs", 60)])
def test_an_approval_waits_for_ever_unless_it_says_otherwise(name: str | None, secs: int) -> None:
    given = {"step_ref": "a", "type": "approval", "approvers": ["ann", "bob"], "min_approvals": 2}
    work = _good({**given, **({name: 60} if name else {})}).steps[0].work
    assert work == Approval(("ann", "bob"), 2, secs, None, None)


def test_a_sub_workflow() -> None:
    work = (
        _good({"step_ref": "c", "type": "sub_workflow", "workflow_slug": "child", "payload": [1]})
        .steps[0]
        .work
    )
    assert isinstance(work, SubWorkflow)
    assert (work.workflow_slug, _source(work.payload)) == ("child", "[1]")


@pytest.mark.parametrize(
    ("kind", "count", "needed"),
    [("wait_for_any", None, 1), ("wait_for_all", None, 3), ("wait_for_any", 2, 2), ("wait_for_all", 2, 2)],
)
def test_a_wait_for_several_events(kind: str, count: int | None, needed: int) -> None:
    keys = ["a:{{x}}", "b:{{x}}", "c:{{x}}"]
    given = {
        "step_ref": "w",
        "type": kind,
        "event_keys": keys,
        "distinct_by": "$.user.id",
        "veto": "w0",
        "count": count,
    }
    work = _good(_job("w0"), {**given, "depends_on": ["w0"]}).steps[1].work
    assert isinstance(work, EventWait)
    assert [_source(key) for key in work.keys] == keys
    assert work.needed == needed
    assert work.distinct_by == ("user", "id")
    assert (work.veto, work.veto_steps) == ("w0", frozenset({"w0"}))


def test_the_workflow_itself() -> None:
    definition = _good(
        _job("b", "a"),
        _job("a"),
        name="Nice",
        description="d",
        tags={"team": "x"},
        timeout_secs=60,
        max_parallel_steps=2,
        project_id="p",
    )
    assert (definition.slug, definition.name, definition.description) == ("w", "Nice", "d")
    assert (definition.tags, definition.timeout_secs, definition.max_parallel_steps) == (
        '{"team":"x"}',
        60,
        2,
    )
    assert [definition.steps[place].ref for place in definition.order] == ["a", "b"]
    assert definition.depth == 2
    assert definition.places == {"b": 0, "a": 1}


@pytest.mark.parametrize(
    ("text", "secs"),
    [
        ("30m", 1_800),
        ("7d", 604_800),
        ("1h30m", 5_400),
        ("0s", 0),
        ("", None),
        ("30", None),
        ("m", None),
        ("-1h", None),
        ("1m1h", None),
        ("1.5h", None),
        (" 1h", None),
        ("١h", None),
    ],
)
def test_durations(text: str, secs: int | None) -> None:
    assert duration(text) == secs


# ---- what is refused ---------------------------------------------------------------------------


def test_all_faults_come_in_one_answer_each_naming_its_step() -> None:
    faults = _faults(
        _job("a", "b", "nobody"),
        _job("b", "a", condition="?", on_failure="explode", retry_max_attempts=0, retry_backoff="wild"),
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
        ({"condition": "x" * 3_000}, "condition"),
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
    faults = _faults(_job("b"), {**_job("a"), **fields})
    assert len(faults) == 1, faults
    assert fault in faults[0]


@pytest.mark.parametrize("steps", [None, [], {}, [_job(f"s{n}") for n in range(1_001)]])
def test_a_workflow_has_1_to_1000_steps(steps: Any) -> None:
    assert parse({"slug": "w", "steps": steps}, CHECKS).faults == (
        "The workflow has wrong 'steps': it must be a list of 1 to 1000 steps.",
    )


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
    faults = _faults(_job("a"), {**_job("b", "a"), **fields}, _job("c", "a"))
    assert len(faults) == 1
    assert "'c', on which it does not depend" in faults[0]
    _good(_job("c"), _job("a", "c"), {**_job("b", "a"), **fields})
    assert "no step of this workflow" in _faults(_job("a"), {**_job("b", "a"), **fields})[0]


def test_fields_that_mean_nothing_are_noted_and_no_fault() -> None:
    parsed = _parse(_job("a", depnds_on=["b"], event_key="k"), stepz=1)
    assert parsed.definition is not None
    assert len(parsed.notes) == 3
    assert all(
        any(name in note for note in parsed.notes) for name in ("'depnds_on'", "'event_key'", "'stepz'")
    )


def test_several_circles_are_all_told() -> None:
    faults = _faults(_job("a", "b"), _job("b", "a"), _job("c", "d"), _job("d", "c"), _job("e", "c"))
    assert len(faults) == 2


# ---- what is asked of a definition -------------------------------------------------------------


def test_what_a_step_needs_to_start() -> None:
    definition = _good(
        _job("a"),
        _job("b", "a"),
        _job("c", "b", payload={"x": "{{parent_outputs.a.x}}"}),
        {
            "step_ref": "w",
            "type": "wait_for_event",
            "event_key": "{{parent_outputs.a.x}}",
            "depends_on": ["c"],
        },
    )
    assert list(members(output_steps(definition, 2))) == [0, 1]
    assert list(members(output_steps(definition, 3))) == [0]
    assert list(members(expression_steps(definition, 3, None))) == [0, 1, 2]
    assert list(members(expression_steps(definition, 3, frozenset({"b"})))) == [1]


def test_what_cannot_resolve_is_known_when_the_workflow_is_triggered() -> None:
    definition = _good(
        _job("a", payload={"x": "{{payload.gone}}", "y": "{{user_id}}"}),
        _job("maybe", condition=" ", payload={"x": "{{payload.lost}}"}),
        {
            "step_ref": "w",
            "type": "wait_for_event",
            "event_key": "k:{{parent_outputs.a.x}}",
            "depends_on": ["a"],
        },
    )
    faults = unresolved_placeholders(definition, '{"user_id":1}', "run")
    assert len(faults) == 1
    assert "'a'" in faults[0]
    assert "{{payload.gone}}" in faults[0]
    assert unresolved_placeholders(definition, '{"user_id":1,"gone":2}', "run") == []


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


def test_a_thousand_steps_that_all_depend_on_those_before() -> None:
    """The most edges there can be, half a million, are no burden."""
    refs = [f"s{n}" for n in range(1_000)]
    definition = _good(*(_job(ref, *refs[:place]) for place, ref in enumerate(refs)))
    assert definition.depth == 1_000
