"""The fixtures of this suite."""

from __future__ import annotations

from tests.storage.fixtures import backend

__all__ = ["backend"]
