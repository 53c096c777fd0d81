"""A definition as a user writes it, looked at by the real libraries."""

from __future__ import annotations

from narrows.core.json_texts import loads
from narrows.core.workflow_definitions import Parsed, parse
from narrows.operations.conditions import Conditions
from narrows.operations.definition_checks import definition_checks
from narrows.operations.json_paths import JsonPaths

CHECKS = definition_checks(Conditions(), JsonPaths())
KYC = """{"slug": "kyc", "name": "Know your customer", "steps": [
  {"step_ref": "collect", "job_slug": "collect-data"},
  {"step_ref": "aml", "type": "wait_for_event", "depends_on": ["collect"], "event_key": "aml:{{payload.user_id}}",
   "timeout_secs": 86400, "expected_schema": {"type": "object", "required": ["score"]}, "output_transform": "$.score"},
  {"step_ref": "review", "type": "approval", "depends_on": ["aml"], "condition": "outputs.aml > 0.5"},
  {"step_ref": "votes", "type": "wait_for_any", "depends_on": ["aml"], "event_keys": ["a", "b", "c"], "count": 2,
   "distinct_by": "user.id", "veto": "has(payload.veto) && payload.veto"},
  {"step_ref": "open", "job_slug": "open-account", "depends_on": ["review", "votes"],
   "condition": "statuses.review in ['completed', 'skipped']"}
]}"""


def _parse(text: str) -> Parsed:
    return parse(loads(text), CHECKS)


def test_a_good_one_has_no_faults() -> None:
    parsed = _parse(KYC)
    assert (parsed.faults, parsed.notes) == ((), ())
    assert parsed.definition is not None
    assert parsed.definition.depth == 4
    assert [step.condition_steps for step in parsed.definition.steps][2] == frozenset({"aml"})


def test_every_kind_of_expression_is_looked_at() -> None:
    bad = (
        KYC.replace("outputs.aml > 0.5", "outputs.aml >")
        .replace('"$.score"', '"score"')
        .replace('{"type": "object"', '{"type": "nonsense"')
        .replace("has(payload.veto) && payload.veto", "outputs.nobody.x == 1")
        .replace("statuses.review in", "statuses.later in")
    )
    faults = _parse(bad).faults
    assert len(faults) == 5
    for start in (
        "Step 'aml' has a wrong 'expected_schema': it cannot be used: ",
        "Step 'aml' has a wrong 'output_transform': it is no JSONPath: ",
        "Step 'review' has a wrong 'condition': it is no CEL at character ",
        "Step 'votes': its veto names 'nobody', which is no step",
        "Step 'open': its condition names 'later', which is no step",
    ):
        assert [fault for fault in faults if fault.startswith(start)], (start, faults)


def test_a_schema_that_refers_elsewhere_or_is_too_large_is_a_fault() -> None:
    for schema in ('{"$ref": "https://example.com/x"}', '{"description": "' + "x" * 70_000 + '"}'):
        assert len(_parse(KYC.replace('{"type": "object", "required": ["score"]}', schema)).faults) == 1
