"""Fresh seeds for each run of the tests, from one base seed that the summary prints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest


@pytest.fixture
def simulation_base_seed(testrun_uid: str, record_property: Callable[[str, object], None]) -> int:
    """The same in every worker of this run, and another one in the next run."""
    base = int.from_bytes(hashlib.sha256(testrun_uid.encode()).digest()[:5], "big") * 1_000_000
    record_property("simulation base seed", base)
    return base
