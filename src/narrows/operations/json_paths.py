"""The `output_transform` of a step: a JSONPath (RFC 9535) that takes what later steps need out of an output.

Like conditions it is looked at when a definition is saved, and evaluated beside the writer. A path that can
find one value at most gives that value; any other gives an array of what it found. The limits are told from
the path's segments: each of them could multiply what is looked at. `match` and `search` are left out, since
their regular expressions backtrack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError
from jsonpath.filter import BaseExpression, FilterQuery
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import Filter, IndexSelector, NameSelector

from narrows.core.json_texts import dumps, loads

#: Segments that select several members (wildcards, slices, filters, lists), and those that go all the way down.
MAX_MANY: Final = 3
MAX_DESCENTS: Final = 1
#: How often the lists of selectors (`['a', 'b']`) can look at one and the same value, all together.
MAX_TIMES: Final = 10
MAX_FOUND: Final = 10_000
_CACHE_SIZE: Final = 4_096


class Transform(NamedTuple):
    """A compiled path, or why it is none."""

    path: JSONPath | None
    fault: str | None


class Transformed(NamedTuple):
    """The output as later steps see it, or a sentence without a subject that says why there is none."""

    output: str | None
    fault: str | None


class JsonPaths:
    """Compiled paths by their text; the most recently used are kept. Used from several threads."""

    def __init__(self) -> None:
        self._compiled = lru_cache(maxsize=_CACHE_SIZE)(compile_path)

    def check(self, text: str) -> str | None:
        """What is wrong with a path, if anything."""
        return self._compiled(text).fault

    def transform(self, text: str, output: str | None) -> Transformed:
        """What the path finds in an output (a JSON text; an absent one is null)."""
        path, fault = self._compiled(text)
        if path is None or fault is not None:
            return Transformed(None, fault)
        found = path.findall(loads("null" if output is None else output))
        if len(found) > MAX_FOUND:
            return Transformed(None, f"finds over {MAX_FOUND:,} values")
        if not path.singular_query():
            return Transformed(dumps(found), None)
        return Transformed(dumps(found[0]), None) if found else Transformed(None, "finds nothing")


def compile_path(text: str) -> Transform:
    """The path of a text, or its fault."""
    try:
        path = _environment().compile(text)
    except JSONPathError as error:
        return Transform(None, f"is no JSONPath: {str(error).partition(chr(10))[0]}")
    if not isinstance(path, JSONPath):
        return Transform(None, "is more than one JSONPath")
    return Transform(path, _limits(path))


@lru_cache(maxsize=1)
def _environment() -> JSONPathEnvironment:
    environment = JSONPathEnvironment(strict=True)
    for name in ("match", "search"):
        del environment.function_extensions[name]
    return environment


def _limits(path: JSONPath) -> str | None:
    segments = path.segments
    descents = sum(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in segments)
    if descents > MAX_DESCENTS:
        return f"has more than {MAX_DESCENTS} '..'"
    if math.prod(len(segment.selectors) for segment in segments) > MAX_TIMES:
        return f"lists too many selectors: they could look at one value more than {MAX_TIMES} times"
    if sum(_selects_many(segment.selectors) for segment in segments) > MAX_MANY:
        return f"selects several members more than {MAX_MANY} times"
    filters = [each for segment in segments for each in segment.selectors if isinstance(each, Filter)]
    if not all(query.path.singular_query() for each in filters for query in _queries(each.expression)):
        return "has a filter that looks at several members"
    return None


def _selects_many(selectors: tuple[Any, ...]) -> bool:
    return len(selectors) > 1 or not isinstance(selectors[0], NameSelector | IndexSelector)


def _queries(expression: BaseExpression) -> Iterator[FilterQuery]:
    """The paths within a filter."""
    if isinstance(expression, FilterQuery):
        yield expression
    else:
        for each in expression.children():
            yield from _queries(each)
