"""Each campaign that `make chaos` lists is one that there is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks.chaos import CAMPAIGNS

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_listed_campaign_exists(name: str) -> None:
    module, *arguments = CAMPAIGNS[name]
    assert importlib.util.find_spec(f"{module}.__main__") is not None
    assert all((ROOT / each).exists() for each in arguments if each.startswith("tests/"))
