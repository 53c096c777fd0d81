"""The compiled schemas that are kept, and which of them go first."""

from __future__ import annotations

from typing import Any

import pytest

from narrows.operations import answers
from narrows.operations.answers import Schemas


def test_the_schema_that_was_used_least_lately_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_schema = answers.compile_schema

    def counted(text: str) -> Any:
        compiled.append(text)
        return compile_schema(text)

    monkeypatch.setattr(answers, "compile_schema", counted)
    monkeypatch.setattr(answers, "_CACHE_SIZE", 2)
    first, second, third = '{"type":"object"}', '{"type":"array"}', '{"type":"string"}'
    schemas = Schemas()
    for schema in (first, second, first, third, first):
        schemas.faults(schema, "1")
    assert compiled == [first, second, third], "the first was used again, so the second had to go"
    assert schemas.faults(second, "[]") == ()
    assert compiled[-1] == second
