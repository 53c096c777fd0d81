"""The server as a user runs it, with the two switches that only a benchmark may flip.

`python -m benchmarks.serve [--one-per-commit] serve --data ...` is `narrows serve ...` with the route
`POST /bench/noop` (all of a send but its operation), and with `--one-per-commit` batches of one.
Nothing in the package reads a switch of this kind.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import Any
from unittest import mock

from narrows import server
from narrows.api.app import create_app
from narrows.api.settings import ApiSettings
from narrows.cli.main import main as narrows

ONE_PER_COMMIT = "--one-per-commit"


def add_noop() -> None:
    """The composition root makes its application with the route that only a benchmark has."""

    def with_noop(service: Any, settings: ApiSettings | None = None) -> Any:
        return create_app(service, replace(settings or ApiSettings(), bench_noop=True))

    mock.patch.object(server, "create_app", with_noop).start()


def one_per_commit() -> None:
    """Every operation in a commit of its own, on the same writer."""
    mock.patch.object(server, "run", functools.partial(server.run, max_batch=1)).start()


def main() -> None:
    add_noop()
    if ONE_PER_COMMIT in sys.argv:
        sys.argv.remove(ONE_PER_COMMIT)
        one_per_commit()
    narrows()


if __name__ == "__main__":
    main()
