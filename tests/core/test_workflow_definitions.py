"""Definitions: every field with its aliases and defaults, and what is asked of them."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.core.graphs import members
from narrows.core.json_texts import loads
from narrows.core.states import Backoff, OnFailure, StepType
from narrows.core.workflow_definitions import expression_steps, output_steps, unresolved_placeholders
from narrows.core.workflow_fields import duration
from narrows.core.workflow_steps import Approval, EventWait, JobWork, Sleep, SubWorkflow
from tests.core.workflow_parsing import good, job, source

# ---- what is read ------------------------------------------------------------------------------


def test_the_defaults_of_a_job_step() -> None:
    step = good({"step_ref": "a", "job_id": "j1"}).steps[0]
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
    step = good(
        job("a"),
        job(
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
    assert source(step.emit_key) == "done:{{parent_outputs.b.id}}"
    assert isinstance(step.work, JobWork)
    assert source(step.work.payload) == '{"n":{{payload.n}}}'


@pytest.mark.parametrize("name", ["step_type", "type"])
@pytest.mark.parametrize("secs", ["event_timeout_secs", "timeout_secs"])
def test_a_wait_for_an_event(name: str, secs: str) -> None:
    step = good(
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
    assert [source(key) for key in work.keys] == ["aml:{{payload.user_id}}"]
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
        for step in good(wait).steps
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
    assert good({"step_ref": "s", "type": "sleep", **fields}).steps[0].work == Sleep(secs, None)


def test_a_sleep_until_a_time_from_a_template() -> None:
    work = good({"step_ref": "s", "type": "sleep", "until": "{{payload.at}}"}).steps[0].work
    assert isinstance(work, Sleep)
    assert source(work.until) == "{{payload.at}}"


@pytest.mark.parametrize(("name", "secs"), [(None, 0), ("approval_timeout_secs", 60), ("timeout_secs", 60)])
def test_an_approval_waits_for_ever_unless_it_says_otherwise(name: str | None, secs: int) -> None:
    given = {"step_ref": "a", "type": "approval", "approvers": ["ann", "bob"], "min_approvals": 2}
    work = good({**given, **({name: 60} if name else {})}).steps[0].work
    assert work == Approval(("ann", "bob"), 2, secs, None, None)


def test_a_sub_workflow() -> None:
    work = (
        good({"step_ref": "c", "type": "sub_workflow", "workflow_slug": "child", "payload": [1]})
        .steps[0]
        .work
    )
    assert isinstance(work, SubWorkflow)
    assert (work.workflow_slug, source(work.payload)) == ("child", "[1]")


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
    work = good(job("w0"), {**given, "depends_on": ["w0"]}).steps[1].work
    assert isinstance(work, EventWait)
    assert [source(key) for key in work.keys] == keys
    assert work.needed == needed
    assert work.distinct_by == ("user", "id")
    assert (work.veto, work.veto_steps) == ("w0", frozenset({"w0"}))


def test_the_workflow_itself() -> None:
    definition = good(
        job("b", "a"),
        job("a"),
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


# ---- what is asked of a definition -------------------------------------------------------------


def test_what_a_step_needs_to_start() -> None:
    definition = good(
        job("a"),
        job("b", "a"),
        job("c", "b", payload={"x": "{{parent_outputs.a.x}}"}),
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
    definition = good(
        job("a", payload={"x": "{{payload.gone}}", "y": "{{user_id}}"}),
        job("maybe", condition=" ", payload={"x": "{{payload.lost}}"}),
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


def test_a_thousand_steps_that_all_depend_on_those_before() -> None:
    """The most edges there can be, half a million, are no burden."""
    refs = [f"s{n}" for n in range(1_000)]
    definition = good(*(job(ref, *refs[:place]) for place, ref in enumerate(refs)))
    assert definition.depth == 1_000
