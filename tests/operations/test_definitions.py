"""Definitions kept parsed: checked once, found again, thrown out when there are too many, and never mixed up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from narrows.core.workflow_records import WorkflowVersion
from narrows.errors import InvariantViolated, Unavailable
from narrows.operations.definitions import Definitions


def text_of(*refs: str, **more: Any) -> str:
    steps = [{"step_ref": ref, "job_slug": "job", **more} for ref in refs or ("a",)]
    return json.dumps({"slug": "flow", "steps": steps})


def saved(text: str, version: int = 1, workflow_id: str = "w") -> WorkflowVersion:
    return WorkflowVersion("p", workflow_id, version, text, 0)


def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `narrows[workflows]` had never been installed."""
    for name in ("conditions", "json_paths", "definition_checks"):
        monkeypatch.delitem(sys.modules, f"narrows.operations.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)


def test_a_definition_is_parsed_once_and_told_from_another_version() -> None:
    definitions = Definitions()
    first = definitions.parsed(saved(text_of("a")))
    second = definitions.parsed(saved(text_of("b"), version=2))
    assert (first.steps[0].ref, second.steps[0].ref) == ("a", "b")
    assert definitions.parsed(saved(text_of("a"))) is first
    assert definitions.known("p", "w", 2) is second
    assert definitions.known("p", "w", 3) is None
    assert definitions.known("other", "w", 1) is None


def test_another_text_under_a_number_takes_the_place_of_one_that_was_given_up() -> None:
    definitions = Definitions()
    definitions.parsed(saved(text_of("given_up")))
    assert definitions.parsed(saved(text_of("saved"))).steps[0].ref == "saved"
    kept = definitions.known("p", "w", 1)
    assert kept is not None
    assert kept.steps[0].ref == "saved"


def test_what_may_yet_be_given_up_is_not_kept() -> None:
    definitions = Definitions()
    assert definitions.parsed(saved(text_of("a")), keep=False).steps[0].ref == "a"
    assert definitions.known("p", "w", 1) is None


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    definitions = Definitions(max_steps=4)
    for version in (1, 2):
        definitions.parsed(saved(text_of("a", "b"), version))
    assert definitions.known("p", "w", 1)  # and so is newer than the second
    definitions.parsed(saved(text_of("c", "d"), 3))
    assert [bool(definitions.known("p", "w", version)) for version in (1, 2, 3)] == [True, False, True]
    definitions.parsed(saved(text_of(*"abcdefgh"), 4))  # larger than all that is kept, and kept all the same
    assert [bool(definitions.known("p", "w", version)) for version in (1, 3, 4)] == [False, False, True]


def test_a_version_that_is_read_again_does_not_count_twice() -> None:
    definitions = Definitions(max_steps=4)
    for ref in "abcdef":
        definitions.parsed(saved(text_of(ref)))
    definitions.parsed(saved(text_of("x", "y", "z"), 2))
    assert definitions.known("p", "w", 1)


def test_many_threads_find_each_its_own() -> None:
    definitions, wrong = Definitions(max_steps=20), list[str]()

    def look(thread: int) -> None:
        for number in range(300):
            version = (thread * 7 + number) % 30
            found = definitions.parsed(saved(text_of(f"s{version}"), version))
            if found.steps[0].ref != f"s{version}":
                wrong.append(found.steps[0].ref)

    threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert sum(definitions.known("p", "w", version) is not None for version in range(30)) == 20


def test_every_fault_of_a_definition_is_told() -> None:
    definitions = Definitions()
    parsed = definitions.check(text_of("a", "b", condition="payload.", output_transform="$["))
    assert parsed.definition is None
    assert len(parsed.faults) == 4
    assert definitions.check(text_of("a")).definition is not None


def test_a_saved_condition_is_known_by_the_steps_that_it_names_and_not_judged_again() -> None:
    steps = [
        {"step_ref": ref, "job_slug": "job", "depends_on": list(on), "condition": condition}
        for ref, on, condition in (
            ("a", "", "payload.x > 1"), ("b", "a", "outputs.a.x > 1"), ("c", "ab", "no longer CEL ("),
        )
    ]  # fmt: skip
    parsed = Definitions().parsed(saved(json.dumps({"slug": "flow", "steps": steps})))
    assert [step.condition_steps for step in parsed.steps] == [frozenset(), {"a"}, frozenset()]


def test_a_saved_definition_that_cannot_be_read_is_a_bug() -> None:
    with pytest.raises(InvariantViolated, match=r"cannot be read: .*step_ref"):
        Definitions().parsed(saved('{"slug":"flow","steps":[{}]}'))


def test_without_the_libraries_nothing_is_checked_and_what_is_saved_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_extra(monkeypatch)
    definitions = Definitions()
    with pytest.raises(Unavailable, match=r"pip install 'narrows\[workflows\]'"):
        definitions.check(text_of("a"))
    parsed = definitions.parsed(saved(text_of("a", condition="payload.x > 1")))
    assert parsed.steps[0].condition_steps is None  # it could be any
    monkeypatch.undo()
    assert definitions.check(text_of("a")).definition is not None


def test_a_server_does_without_the_libraries_until_a_definition_comes() -> None:
    asked = "import sys, narrows.server, narrows.cli.main; print([n for n in sys.modules if n[:4] in ('cel_', 'json')])"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    names = eval(found.stdout)
    assert not [name for name in names if name.startswith(("cel_expr_python", "jsonpath"))]
