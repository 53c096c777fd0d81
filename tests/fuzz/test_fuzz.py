"""Some seconds of what `python -m tests.fuzz --campaign` does for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import fuzz


@pytest.mark.slow
def test_no_request_breaks_the_server_or_its_document(tmp_path: Path) -> None:
    code, said = fuzz(tmp_path, examples=12, seed=1)
    assert code == 0, said[-20_000:]
    assert "No issues found" in said or "passed" in said
