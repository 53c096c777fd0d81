"""Fixtures of every suite that stands on a store or a server, once for each database, and a check of what
it holds at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from narrows.config import Config
from tests.storage.databases import DATABASES, configured, lay_down
from tests.storage.kit import BACKENDS, Backend, SqliteBackend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty database; after the test `narrows verify` must find nothing wrong in it."""
    found = BACKENDS[request.param](tmp_path)
    if isinstance(found, SqliteBackend):
        lay_down(found.path)
    try:
        yield found
        assert found.faults() == []
    finally:
        found.close()


@pytest.fixture(params=DATABASES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Config]:
    """What a server is configured with: a data folder and an empty database."""
    with configured(request.param, tmp_path) as made:
        if not made.is_shared:
            lay_down(made.database_path)
        yield made
