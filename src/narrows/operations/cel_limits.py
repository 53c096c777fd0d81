"""What of a CEL expression could be abused, told from its syntax tree: some of it when a definition is saved,
the rest (how long lists and texts are) when it is evaluated, for what the expression looks at alone.

CEL has no loops and no side effects; what is left is macros that go over much, texts that are put together
again and again, and regular expressions. Those of the library cannot backtrack, but what they cost grows with
their own length, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from narrows.operations.cel_trees import Node

#: The variables of an expression, those of them that are maps by step, and what looks into these: the number
#: of the operator's part that is the map.
PAYLOAD, OUTPUTS, STATUSES = "payload", "outputs", "statuses"
_VARIABLES: Final = (PAYLOAD, OUTPUTS, STATUSES)
_LOOKUPS: Final = {"_[_]": 0, "@in": 1}

MAX_NESTING: Final = 2
MAX_ELEMENTS: Final = 1_000
MAX_ADDITIONS: Final = 16
MAX_MATCHES: Final = 8
MAX_PATTERN: Final = 100
#: The counts of a pattern, as in `[0-9]{4}`, all added up.
MAX_COUNTS: Final = 20
#: How long a text may be that is looked at in each round of a macro, that is matched, and both.
MAX_TEXT_IN_MACRO: Final = 10_000
MAX_TEXT_MATCHED: Final = 100_000
MAX_TEXT_MATCHED_IN_MACRO: Final = 200
#: So many values the library is given: it holds Python's lock while it takes them over, 25 ms for the worst.
MAX_VALUES: Final = 100_000
#: The variable in which a macro collects its result; the library's own additions go to it.
_RESULT: Final = "@result"
_COUNTS: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")

Path = tuple[str, ...]


class Reach(NamedTuple):
    """What an expression looks at: `ranges` are the paths of what its macros go over, `texts` those of what
    it compares or matches, with how long a text may be there, `named` those of all that it names."""

    ranges: frozenset[Path]
    texts: frozenset[tuple[Path, int]]
    named: frozenset[Path]


def fault_of(root: Node) -> str | None:
    """What is wrong with an expression whatever it is about, as a sentence without a subject."""
    nodes = list(root.walk())
    macros = [node for node in nodes if node.kind == "macro"]
    bodies = [each for macro in macros for part in macro.parts[1:] for each in part.walk()]
    matches = [node for node in nodes if _is_match(node)]
    for is_wrong, what in (
        (_nesting(root) > MAX_NESTING, f"nests macros more than {MAX_NESTING} deep"),
        (
            any(each.name in _VARIABLES for each in macros),
            "calls the variable of a macro payload, outputs or statuses",
        ),
        (sum(map(_is_addition, nodes)) > MAX_ADDITIONS, f"has more than {MAX_ADDITIONS} additions"),
        (any(map(_is_addition, bodies)), "adds something in each round of a macro"),
        (len(matches) > MAX_MATCHES, f"has more than {MAX_MATCHES} regular expressions"),
        (
            not all(map(_is_simple, matches)),
            f"has a regular expression that is no text of up to {MAX_PATTERN} characters or counts too far",
        ),
    ):
        if is_wrong:
            return what
    return None


def steps_of(root: Node) -> frozenset[str] | None:
    """The steps of which it looks at the output or the status, None where that could be any."""
    named = set(_uses(root))
    return None if None in named else frozenset(name for name in named if name is not None)


def reach_of(root: Node) -> Reach:
    macros = [node for node in root.walk() if node.kind == "macro"]
    matched = {path for node in root.walk() if _is_match(node) for path in _paths(node.parts[0])}
    in_macros = [each for macro in macros for each in macro.walk() if _is_match(each)]
    ranges = {path for macro in macros for path in _paths(macro.parts[0])}
    # What is matched in a macro may be an element of what any macro goes over.
    often = ranges | {path for each in in_macros for path in _paths(each.parts[0])} if in_macros else set()
    texts = {(path, MAX_TEXT_IN_MACRO) for macro in macros for path in _paths(macro)}
    texts |= {(path, MAX_TEXT_MATCHED) for path in matched} | {
        (path, MAX_TEXT_MATCHED_IN_MACRO) for path in often
    }
    return Reach(frozenset(ranges), frozenset(texts), frozenset(_paths(root)))


def named_of(reach: Reach, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables with nothing in them but what the expression names: to hand the rest over costs, too."""
    given: dict[str, Any] = {name: {} for name in variables}
    for path in reach.named:
        source: Any = variables
        target = given
        for place, name in enumerate(path):
            if name not in source:
                break
            value = source[name]
            if place == len(path) - 1 or not isinstance(value, dict) or target.get(name) is value:
                target[name] = value  # whole, whatever of it was named alone
                break
            source, target = value, target.setdefault(name, {})
    return given


def too_large(reach: Reach, variables: Mapping[str, Any]) -> str | None:
    """Whether something that is looked at is too long this time, as a sentence without a subject."""
    for path in sorted(reach.ranges):
        longest = max(
            (len(each) for each in _values(variables, path) if isinstance(each, dict | list)), default=0
        )
        if longest > MAX_ELEMENTS:
            return f"goes over {longest} elements of {'.'.join(path)}; at most {MAX_ELEMENTS} are allowed"
    for path, most in sorted(reach.texts):
        longest = max((len(each) for each in _values(variables, path) if isinstance(each, str)), default=0)
        if longest > most:
            return f"looks at a text of {longest} characters in {'.'.join(path)}; at most {most} are allowed for that"
    if any(place >= MAX_VALUES for place, _ in enumerate(_values(variables, ()))):
        return f"looks at more than {MAX_VALUES:,} values; let it name fewer, or make outputs smaller by output_transform"
    return None


def _nesting(node: Node) -> int:
    """How deep macros nest: what a macro goes over comes before it, not within it."""
    if node.kind != "macro":
        return max(map(_nesting, node.parts), default=0)
    return max(_nesting(node.parts[0]), 1 + max(map(_nesting, node.parts[1:]), default=0))


def _is_addition(node: Node) -> bool:
    return node.kind == "call" and node.name == "_+_" and node.parts[0].name != _RESULT


def _is_match(node: Node) -> bool:
    return node.kind == "call" and node.name == "matches" and len(node.parts) == 2


def _is_simple(match: Node) -> bool:
    pattern = match.parts[1].name
    if match.parts[1].kind != "constant" or pattern is None or len(pattern) > MAX_PATTERN:
        return False
    return sum(int(count) for counts in _COUNTS.findall(pattern) for count in counts if count) <= MAX_COUNTS


def _uses(node: Node) -> Iterator[str | None]:
    """What each use of our maps by step names: `outputs.a`, `outputs["a"]`, `"a" in outputs`; None for one
    that goes over all of them or works a name out."""
    if _is_by_step(node):
        yield None
    elif node.kind == "member" and _is_by_step(node.parts[0]):
        yield node.name
    elif node.kind == "call" and node.name in _LOOKUPS and _is_by_step(node.parts[_LOOKUPS[node.name]]):
        key = node.parts[1 - _LOOKUPS[node.name]]
        yield key.name if key.kind == "constant" else None
    else:
        for part in node.parts:
            yield from _uses(part)


def _is_by_step(node: Node) -> bool:
    return node.kind == "name" and node.name in (OUTPUTS, STATUSES)


def _paths(node: Node) -> Iterator[Path]:
    """The paths from our variables that stand in an expression, each as far as it is literal."""
    path = _path(node)
    if path is not None:
        yield path
    else:
        for part in node.parts:
            yield from _paths(part)


def _path(node: Node) -> Path | None:
    if node.kind == "name":
        return (str(node.name),) if node.name in _VARIABLES else None
    if node.kind == "member":
        above = _path(node.parts[0])
        return None if above is None else (*above, str(node.name))
    return None


def _values(variables: Mapping[str, Any], path: Path) -> Iterator[Any]:
    """All values at and below a path."""
    found: Any = variables
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    stack = [found]
    while stack:
        value = stack.pop()
        yield value
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list):
            stack += value
