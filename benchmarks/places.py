"""Where the benchmark keeps its files, and where its servers listen."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "benchmarks" / ".work"
HOST = "127.0.0.1"
