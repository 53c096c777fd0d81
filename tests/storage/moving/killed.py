"""A move that ends by SIGKILL at the n-th call of a method of its sides, before it or when it is done, with
chunks of two rows:

    python -m tests.storage.moving.killed FROM TO DATA METHOD PLACE before|after
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from narrows import server
from narrows.config import Config
from narrows.storage.moving import embedded, shared, tables
from tests.cli.conftest import environment
from tests.forked import run_forked

ROOT = Path(__file__).parents[3]


def killed(source: Config, target: Config, method: str, place: int, when: str) -> None:
    """Move in a process of its own, which is killed there."""
    data = (target if source.is_shared else source).data
    words = [source.database, target.database, str(data), method, str(place), when]
    done = run_forked(["-m", "tests.storage.moving.killed", *words], ROOT, environment(), "", timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr


def _deadly(known: Callable[..., Any], place: int, when: str) -> Callable[..., Any]:
    calls = 0

    async def call(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == place and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = await known(self, *arguments)
        if calls == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return call


def main() -> None:
    source, target, data, method, place, when = sys.argv[1:]
    patch.multiple(tables, CHUNK_ROWS=2).start()
    for side in (embedded.Embedded, shared.Shared):
        patch.object(side, method, _deadly(getattr(side, method), int(place), when)).start()
    configs = [Config(data=Path(data), database=each) for each in (source, target)]
    server.move(configs[0], configs[1], lambda doing, done, everything: None)


if __name__ == "__main__":
    main()
