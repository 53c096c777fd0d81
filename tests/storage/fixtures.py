"""Fixtures of every suite that stands on a store: the backend, and a check of what it holds at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.kit import BACKENDS, Backend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty database; after the test `narrows verify` must find nothing wrong in it."""
    found = BACKENDS[request.param](tmp_path)
    try:
        yield found
        assert found.faults() == []
    finally:
        found.close()
