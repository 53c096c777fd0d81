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

from narrows import server
from narrows.api.settings import ApiSettings
from narrows.cli.main import main as narrows

ONE_PER_COMMIT = "--one-per-commit"


def add_noop() -> None:
    """The composition root makes its application with the route that only a benchmark has."""
    create_app = server.create_app

    def with_noop(service: Any, settings: ApiSettings | None = None) -> Any:
        return create_app(service, replace(settings or ApiSettings(), bench_noop=True))

    server.create_app = with_noop


def one_per_commit() -> None:
    """Every operation in a commit of its own, on the same writer."""
    server.run = functools.partial(server.run, max_batch=1)


def main() -> None:
    add_noop()
    if ONE_PER_COMMIT in sys.argv:
        sys.argv.remove(ONE_PER_COMMIT)
        one_per_commit()
    narrows()


if __name__ == "__main__":
    main()
