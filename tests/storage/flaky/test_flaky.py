"""The plugin of the campaign lets calls go wrong, and what is asked is answered all the same."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_suite_passes_while_one_call_in_ten_goes_wrong() -> None:
    suite = "tests/storage/conformance/test_opening.py"
    command = ["pytest", "-n", "0", "-p", "tests.storage.flaky.plugin", "-k", "postgres", suite]
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True, text=True, check=False, env={**os.environ, "NARROWS_FLAKY": "10"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "'after success': " in ended.stdout
