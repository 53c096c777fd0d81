"""The tree of errors that `errors.py` draws is the tree that there is."""

from __future__ import annotations

import re

from narrows import client, errors

_NAME = re.compile(r"(\w+)", re.ASCII)


def _drawn() -> dict[str, str]:
    """Class name -> its parent's, as drawn."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if "─" not in line and line.strip() != "NarrowsError":
            continue
        match = _NAME.search(line)
        assert match is not None
        path = [*path[: match.start() // 4 - 1], match[1]]
        parents[match[1]] = path[-2] if len(path) > 1 else "Exception"
    return parents


def test_every_error_that_a_caller_may_meet_is_drawn_under_its_parent() -> None:
    found = [
        each
        for module in (errors, client)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, errors.NarrowsError)
    ]
    assert _drawn() == {each.__name__: each.__bases__[0].__name__ for each in found}
