"""Stores to move: made once, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from narrows.config import Config
from tests.postgres.cluster import drop_database, fresh_database
from tests.storage.moving.kit import make_full, moved


@cache
def _full() -> Config:
    return make_full(Path(mkdtemp(prefix="narrows-full-")))


def _fill_shared(url: str) -> None:
    moved(_full(), Config(data=_full().data / "node", database=url))


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    if _full.cache_info().currsize:
        shutil.rmtree(_full().data)


@pytest.fixture
def old(tmp_path: Path) -> Config:
    """An embedded store with something of everything, and its secret key."""
    shutil.copytree(_full().data, tmp_path / "old")
    return Config(data=tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Config]:
    """An empty PostgreSQL database."""
    url = fresh_database()
    yield Config(data=tmp_path / "node", database=url)
    drop_database(url)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Config]:
    """A PostgreSQL database to which `old` was moved."""
    url = fresh_database(_fill_shared)
    yield Config(data=tmp_path / "node", database=url)
    drop_database(url)


@pytest.fixture
def back(tmp_path: Path) -> Config:
    """An embedded store that is not there yet."""
    return Config(data=tmp_path / "back")
