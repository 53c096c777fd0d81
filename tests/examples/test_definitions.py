"""The definitions of the examples and of the guide are without faults, and hold nothing that means nothing."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest

from narrows.cli.yaml_texts import json_texts
from narrows.core.json_texts import loads
from narrows.core.workflow_definitions import parse
from narrows.operations.conditions import Conditions
from narrows.operations.definition_checks import definition_checks
from narrows.operations.json_paths import JsonPaths
from tests.test_docs import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*/*.yaml"))
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHECKS = definition_checks(Conditions(), JsonPaths())


def faults(definition: Any) -> list[str]:
    parsed = parse(definition, CHECKS)
    return [*parsed.faults, *parsed.notes]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_of_an_example(path: Any) -> None:
    found = [loads(text) for text in json_texts(path.read_text())]
    assert [faults(definition) for definition in found] == [[]] * len(found)


def test_there_are_four_examples_with_a_readme_each() -> None:
    folders = sorted(path.parent.name for path in EXAMPLES)
    assert folders == ["deploy-gate", "kyc", "nightly-batch", "two-of-three"]
    listed = (ROOT / "examples" / "README.md").read_text()
    for folder in folders:
        assert (ROOT / "examples" / folder / "README.md").exists()
        assert f"({folder}/README.md)" in listed


def test_of_the_guide() -> None:
    """Parts of definitions are filled up with jobs that they depend on."""
    blocks = BLOCK.findall((ROOT / "docs" / "workflows.md").read_text())
    assert len(blocks) >= 4
    for block in blocks:
        (text,) = json_texts(textwrap.dedent(block))
        found = loads(text)
        if isinstance(found, list):
            there = {step["step_ref"] for step in found}
            missing = {ref for step in found for ref in step.get("depends_on", ())} - there
            found = {"slug": "w", "steps": [*({"step_ref": ref, "job_slug": "j"} for ref in missing), *found]}
        assert faults(found) == [], block
