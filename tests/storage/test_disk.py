"""Power cuts, full disks, I/O errors and failed syncs: nothing acknowledged is ever lost, nothing is
acknowledged that is not durable. NARROWS_POWER_CUTS makes a campaign of the cuts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_forked

ROOT = Path(__file__).resolve().parents[2]
CUTS = int(os.environ.get("NARROWS_POWER_CUTS", "50"))
SEED = int(os.environ.get("NARROWS_SEED", "0")) or int.from_bytes(os.urandom(4), "big")


def _run(what: str, folder: Path, *arguments: object) -> Any:
    """A run on the disk of the tests, in a process of its own."""
    words = ["-m", "tests.storage.disk_runs", what, str(folder), *map(str, arguments)]
    done = run_forked(words, ROOT, os.environ, "", timeout=100 + CUTS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seen = _run("power-cuts", tmp_path, CUTS, SEED)
    assert seen["lost"] == [], f"NARROWS_SEED={SEED}"
    assert seen["faults"] == [], f"NARROWS_SEED={SEED}"
    assert seen["cuts"] == CUTS
    assert {"write db", "sync db", "write wal", "sync wal", "ack"} <= set(seen["kinds"])


@pytest.mark.slow
def test_a_disk_that_lies_about_its_syncs_is_found_out(tmp_path: Path) -> None:
    """The check itself can fail."""
    seen = _run("lying-disk", tmp_path, 10, 1)
    assert seen["lost"] or seen["faults"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "error"])
def test_a_write_that_fails_is_unavailable_and_heals_by_itself(tmp_path: Path, kind: str) -> None:
    runs = _run("faults", tmp_path, kind)
    assert len(runs) > 50  # the N-th write, for every N of the workload
    for run in runs:
        assert run["missing"] == []
        assert run["faults"] == []
        assert run["unavailable"] > 0
        assert (run["unknown"], run["fatal"]) == (0, 0)
        opened = sum(text.startswith("open") for text in run["acknowledged"])
        assert run["reads"] == opened  # reads go on, and what was refused was not done
        assert run["healed"]


@pytest.mark.slow
def test_a_sync_that_fails_ends_the_process_with_the_outcome_unknown(tmp_path: Path) -> None:
    runs = _run("faults", tmp_path, "sync")
    assert len(runs) > 8
    for run in runs:
        assert (run["unknown"], run["fatal"]) == (1, 1)
        assert run["missing"] == []
        assert run["faults"] == []
        assert not run["healed"]
