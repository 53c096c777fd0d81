"""The fixtures of this suite."""

from __future__ import annotations

from tests.storage.fixtures import backend, config

__all__ = ["backend", "config"]
