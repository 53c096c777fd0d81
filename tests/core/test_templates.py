"""Placeholders: what they resolve to, in what type and spelling, and that none is ever left standing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.core.json_texts import Document, loads
from narrows.core.templates import (
    Scope,
    Template,
    compile_json,
    compile_text,
    job_payload,
    render,
    unresolved,
)
from narrows.errors import InvalidRequest

PAYLOAD = (
    '{"user":{"id":7,"name":"J\\u00fc\\"rg","tags":["a","b"]},"user_id":"u-1","amount":1.50,"big":123456789012345678901,'
    '"on":true,"none":null,"payload":{"x":1}}'
)
SCOPE = Scope(Document(PAYLOAD), {"check": Document('{"score":9.0,"hits":[{"n":1e3}]}')}, "run-1", "notify")


def _text(template: str, scope: Scope = SCOPE) -> str:
    return render(compile_text(template), scope)


def _json(template: str, scope: Scope = SCOPE) -> str:
    return render(compile_json(loads(template)), scope)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("aml:{{payload.user.id}}", "aml:7"),
        ("aml:{{user_id}}", "aml:u-1"),
        ("{{ payload.user.name }}", 'Jü"rg'),
        ("{{user.tags.1}}", "b"),
        ("{{amount}}/{{big}}/{{on}}", "1.50/123456789012345678901/true"),
        ("{{parent_outputs.check.score}}", "9.0"),
        ("{{parent_outputs.check.hits.0.n}}", "1e3"),
        ("{{workflow_run_id}}:{{step_ref}}", "run-1:notify"),
        ("{{payload.payload.x}}", "1"),
        ("no placeholder }} at all", "no placeholder }} at all"),
    ],
)
def test_a_text_is_filled_in(template: str, text: str) -> None:
    assert _text(template) == text


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ('"{{user.id}}"', "7"),
        ('"{{amount}}"', "1.50"),
        ('"{{on}}"', "true"),
        ('"{{none}}"', "null"),
        ('"{{user.tags}}"', '["a","b"]'),
        ('"{{parent_outputs.check}}"', '{"score":9.0,"hits":[{"n":1e3}]}'),
        ('"id {{user.id}}"', '"id 7"'),
        ('"\\" {{user.name}}"', '"\\" J\\u00fc\\"rg"'),
        (
            '{"a":["{{amount}}",1.10,null,{},[]],"b":"{{workflow_run_id}}"}',
            '{"a":[1.50,1.10,null,{},[]],"b":"run-1"}',
        ),
    ],
)
def test_a_value_that_is_one_placeholder_keeps_its_type_and_every_number_its_spelling(
    template: str, value: str
) -> None:
    assert _json(template) == value


@pytest.mark.parametrize(
    "template",
    [
        "{{nobody}}",
        "{{payload.user.nobody}}",
        "{{parent_outputs.other.x}}",
        "{{parent_outputs.check.x}}",
        "{{step_ref.x}}",
    ],
)
def test_what_does_not_resolve_is_named(template: str) -> None:
    """Bug 18: a placeholder left standing becomes a literal key that the second run collides with."""
    with pytest.raises(InvalidRequest) as refusal:
        _text(f"key:{template}")
    assert template in refusal.value.message


@pytest.mark.parametrize(
    ("template", "kind"), [("{{user}}", "object"), ("{{user.tags}}", "array"), ("{{none}}", "null")]
)
def test_only_texts_and_numbers_stand_within_a_text(template: str, kind: str) -> None:
    for fill in (_text, lambda text: _json(f'"{text}"')):
        with pytest.raises(InvalidRequest, match=kind):
            fill(f"key:{template}")


@pytest.mark.parametrize(
    "template",
    [
        "{{",
        "a {{x",
        "{{}}",
        "{{ }}",
        "{{a b}}",
        "{{a..b}}",
        "{{.a}}",
        "{{a}} {{b",
        "{{{a}}}",
        "{{parent_outputs}}",
        "{{a|upper}}",
    ],
)
def test_a_fault_of_syntax_is_told_when_the_template_is_read(template: str) -> None:
    for read in (compile_text, compile_json):
        with pytest.raises(InvalidRequest):
            read(template)


def test_the_name_of_a_member_is_no_template() -> None:
    with pytest.raises(InvalidRequest, match="member"):
        compile_json({"{{a}}": 1})


def test_without_a_payload_nothing_of_it_resolves() -> None:
    with pytest.raises(InvalidRequest, match="user_id"):
        _text("{{user_id}}", SCOPE._replace(payload=None))


def test_what_can_be_known_when_the_workflow_is_triggered_is_told_then() -> None:
    templates = [
        compile_text("{{user_id}}{{nobody}}{{nobody}}"),
        compile_text("{{user}}"),
        compile_json({"a": "{{parent_outputs.later.x}}", "b": "{{user}}", "c": "{{payload.gone}}"}),
    ]
    faults = unresolved(templates, SCOPE._replace(outputs={}))
    assert len(faults) == 3
    for name, fault in zip(("{{nobody}}", "{{user}}", "{{payload.gone}}"), faults, strict=True):
        assert name in fault


def test_placeholders_are_listed_with_the_steps_whose_outputs_they_name() -> None:
    template = compile_text("{{payload.a}}:{{parent_outputs.check.x}}:{{step_ref}}")
    assert [each.output_of for each in template.placeholders] == [None, "check", None]
    assert not template.is_placeholder
    assert compile_json("{{payload.a}}").is_placeholder


LITERALS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda text: "{{" not in text
)


@given(LITERALS, st.one_of(st.text(max_size=20), st.integers(), st.booleans()), LITERALS)
def test_any_value_between_any_literals(before: str, value: Any, after: str) -> None:
    before = before.rstrip("{")
    scope = SCOPE._replace(payload=Document(json.dumps({"v": value})))
    shown = value if isinstance(value, str) else json.dumps(value)
    assert _text(f"{before}{{{{v}}}}{after}", scope) == f"{before}{shown}{after}"
    filled = render(compile_json([f"{before}{{{{v}}}}{after}"]), scope)
    whole = before + after == ""
    assert json.loads(filled) == [value if whole else f"{before}{shown}{after}"]


@given(st.text(max_size=30))
def test_nothing_looks_like_a_placeholder_afterwards(text: str) -> None:
    """Either it is refused, or every placeholder in it is filled in."""
    try:
        template: Template = compile_text(text)
        filled = render(template, SCOPE)
    except InvalidRequest:
        return
    assert "{{" not in filled


@pytest.mark.parametrize(
    ("payload", "own", "outputs", "merged"),
    [
        ('{"a":1.50,"b":{"c":1}}', '{"b":2}', {"s": "1e1"}, '{"a":1.50,"b":2,"parent_outputs":{"s":1e1}}'),
        ('{"parent_outputs":1}', None, {}, '{"parent_outputs":{}}'),
        ("[1]", '{"x":2}', {}, '{"payload":[1],"x":2,"parent_outputs":{}}'),
        (None, None, {"a": "null"}, '{"parent_outputs":{"a":null}}'),
        ('{"a":[1, 2]} ', '{"b":"}"}', {}, '{"a":[1, 2],"b":"}","parent_outputs":{}}'),
    ],
)
def test_a_jobs_payload_is_merged(
    payload: str | None, own: str | None, outputs: dict[str, str], merged: str
) -> None:
    given = Document("{}" if payload is None else payload)
    assert job_payload(given, own, outputs) == merged
    assert job_payload(given, own, outputs) == merged, "twice of one document"


def test_a_jobs_payload_that_comes_out_as_no_object_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="object"):
        job_payload(Document("{}"), "[1]", {})
