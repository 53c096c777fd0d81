"""The fixtures of this suite: a database that is checked at the end, and a proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.kit import PostgresBackend


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PostgresBackend]:
    """An empty database; after the test `narrows verify` must find nothing wrong in it."""
    found = PostgresBackend(tmp_path)
    try:
        yield found
        assert found.faults() == []
    finally:
        found.close()
