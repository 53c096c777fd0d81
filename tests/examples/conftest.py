"""The fixtures of this suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from narrows.config import Config
from tests.examples.scene import Scene
from tests.storage.fixtures import config

__all__ = ["config"]


@pytest.fixture
def scene(config: Config, tmp_path: Path) -> Iterator[Scene]:
    """A server over an empty database, and a shell at the top of the clone."""
    scene = Scene(tmp_path, config)
    try:
        yield scene
    finally:
        scene.end()
