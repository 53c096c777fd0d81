"""Where the steps of a workflow stand in a picture: in layers, each below all that it depends on, in an order
that keeps arrows short and from crossing, and in columns. Pure. Not here: the characters (`drawing.py`).

An arrow that goes past a layer has a place there too, so that it is routed around what stands in it. All
arrows of a step that go on share that place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from narrows.wire.workflow_messages import WorkflowGraph

#: More are listed: nobody follows so many arrows, and to lay them out would take long.
MAX_PLACES: Final = 600
GAP: Final = 2
_SWEEPS: Final = 4


class Node(NamedTuple):
    """A step: what it is, how it stands (None in a definition), and what it depends on."""

    ref: str
    type: str
    status: str | None
    after: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Place:
    """Something that stands in a layer: a step, or (`node` None) an arrow on its way. `centre` is a column."""

    node: Node | None
    width: int
    centre: int = 0
    above: list[Place] = field(default_factory=list)
    below: list[Place] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.centre - self.width // 2

    @property
    def right(self) -> int:
        """The first column that is free again."""
        return self.left + self.width


def nodes_of_definition(steps: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The steps of a definition as they were sent."""
    return [
        Node(
            str(step["step_ref"]),
            str(step.get("step_type") or step.get("type") or "job"),
            None,
            tuple(step.get("depends_on") or ()),
        )
        for step in steps
    ]


def nodes_of_graph(graph: WorkflowGraph) -> list[Node]:
    """The steps of a run, with their states."""
    after: dict[str, list[str]] = {node.step_ref: [] for node in graph.nodes}
    for edge in graph.edges:
        after[edge.to].append(edge.from_)
    return [
        Node(node.step_ref, node.step_type, node.status, tuple(after[node.step_ref])) for node in graph.nodes
    ]


def depths(nodes: Sequence[Node]) -> dict[str, int]:
    """How many steps are above each, by its ref; the nodes come as in the definition, in any order."""
    by_ref = {node.ref: node for node in nodes}
    found: dict[str, int] = {}
    for first in by_ref:
        way = [first]
        while way:
            node = by_ref[way[-1]]
            missing = [ref for ref in node.after if ref in by_ref and ref not in found]
            if missing and len(way) <= len(by_ref):  # longer than that only where they go in a circle
                way.append(missing[0])
                continue
            found[node.ref] = max((found[ref] + 1 for ref in node.after if ref in found), default=0)
            way.pop()
    return found


def layers(nodes: Sequence[Node], widths: Iterable[int]) -> list[list[Place]] | None:
    """All places, layer by layer, with their columns; None where there are too many."""
    depth = depths(nodes)
    steps = {node.ref: Place(node, width) for node, width in zip(nodes, widths, strict=True)}
    found: list[list[Place]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in nodes:
        found[depth[node.ref]].append(steps[node.ref])
    passing: dict[tuple[str, int], Place] = {}
    for node in nodes:
        for ref in dict.fromkeys(node.after):
            if ref not in steps:
                continue
            upper = steps[ref]
            for level in range(depth[ref] + 1, depth[node.ref]):
                place = passing.get((ref, level))
                if place is None:
                    place = passing[ref, level] = Place(None, 1)
                    found[level].append(place)
                    _join(upper, place)
                upper = place
            _join(upper, steps[node.ref])
        if len(passing) + len(nodes) > MAX_PLACES:
            return None
    _order(found)
    _move(found)
    return found


def _join(upper: Place, lower: Place) -> None:
    upper.below.append(lower)
    lower.above.append(upper)


# ---- the order within the layers -------------------------------------------------------------


def _order(found: list[list[Place]]) -> None:
    """Sort each layer by where its neighbours stand, from above and from below in turn."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        ordered = found if down else found[::-1]
        for others, layer in pairwise(ordered):
            _sort(layer, others, down)


def _sort(layer: list[Place], others: Sequence[Place], down: bool) -> None:
    """What has no neighbours there keeps its place, in proportion."""
    rank = {place: number for number, place in enumerate(others)}
    scale = len(others) / max(len(layer), 1)
    wanted = {}
    for number, place in enumerate(layer):
        near = [rank[each] for each in (place.above if down else place.below)]
        wanted[place] = sum(near) / len(near) if near else number * scale
    layer.sort(key=wanted.__getitem__)


# ---- columns ---------------------------------------------------------------------------------


def _move(found: list[list[Place]]) -> None:
    """Give each place a column near the middle of its neighbours, and move all so that they begin at 0."""
    for layer in found:
        _spread(layer, [0.0] * len(layer))
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for layer in found if down else found[::-1]:
            _spread(layer, [_wanted(place, down) for place in layer])
    first = min((place.left for layer in found for place in layer), default=0)
    for layer in found:
        for place in layer:
            place.centre -= first


def _wanted(place: Place, down: bool) -> float:
    near = place.above if down else place.below
    return sum(each.centre for each in near) / len(near) if near else float(place.centre)


def _spread(layer: Sequence[Place], wanted: Sequence[float]) -> None:
    """The columns nearest to what is wanted that keep the order and the gaps: whoever would be pushed aside
    shares the way with whoever pushes (the least sum of squares)."""
    offsets, at = [], 0
    for place in layer:
        offsets.append(at + place.width // 2)
        at += place.width + GAP
    groups: list[tuple[float, int]] = []
    for column, offset in zip(wanted, offsets, strict=True):
        mean, count = column - offset, 1
        while groups and groups[-1][0] > mean:
            before, others = groups.pop()
            mean = (mean * count + before * others) / (count + others)
            count += others
        groups.append((mean, count))
    shifts = (round(mean) for mean, count in groups for _ in range(count))
    for place, offset, shift in zip(layer, offsets, shifts, strict=True):
        place.centre = shift + offset
