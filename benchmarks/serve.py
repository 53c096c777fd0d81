"""The server as a user runs it, with the two switches that only a benchmark may flip.

`python -m benchmarks.serve [--one-per-commit] serve --data ...` is `narrows serve ...` with the route
`POST /bench/noop` (all of a send but its operation), and with `--one-per-commit` batches of one.
Nothing in the package reads a switch of this kind.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

ONE_PER_COMMIT = "--one-per-commit"


def add_noop() -> None:
    """The composition root makes its application through `api.app.create_app`."""
    from narrows import server  # noqa: PLC0415 - patched before the command line starts it
    from narrows.api import app  # noqa: PLC0415
    from narrows.api.settings import ApiSettings  # noqa: PLC0415

    create_app = app.create_app

    def with_noop(service: Any, settings: ApiSettings | None = None) -> Any:
        return create_app(service, replace(settings or ApiSettings(), bench_noop=True))

    app.create_app = with_noop
    if hasattr(server, "create_app"):
        server.create_app = with_noop


def one_per_commit() -> None:
    """Every operation in a commit of its own, on the same writer."""
    from narrows.storage.writer import Writer  # noqa: PLC0415

    make = Writer.__init__

    def with_batches_of_one(self: Writer, *positional: Any, **named: Any) -> None:
        make(self, *positional, **{**named, "max_batch": 1})

    Writer.__init__ = with_batches_of_one  # type: ignore[method-assign]


def main() -> None:
    add_noop()
    if ONE_PER_COMMIT in sys.argv:
        sys.argv.remove(ONE_PER_COMMIT)
        one_per_commit()
    from narrows.cli.main import main as narrows  # noqa: PLC0415

    narrows()


if __name__ == "__main__":
    main()
