"""The targets of the Makefile that a newcomer reads of by a bare `make`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _make(*args: str) -> str:
    return subprocess.run(["make", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", ["run", "test", "check", "docs"])
def test_a_bare_make_lists_it(target: str) -> None:
    assert f"make {target} " in _make()


def test_make_docs_writes_the_generated_pages_though_a_folder_has_its_name() -> None:
    assert "-m docs.reference.generate" in _make("--dry-run", "--always-make", "docs")
