"""Directed graphs of up to a thousand nodes, as bit masks: bit i of a whole number is node i. A union or
"are all of these in it?" of a thousand nodes is one operation on 34 machine words, which is what lets a
workflow look at its states anew with every change instead of keeping counters beside them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Graph(NamedTuple):
    """`dependencies[i]` are the nodes that node i depends on, `dependents[i]` those that depend on it."""

    dependencies: tuple[int, ...]
    dependents: tuple[int, ...]

    @property
    def everything(self) -> int:
        return (1 << len(self.dependencies)) - 1


def mask(nodes: Iterable[int]) -> int:
    found = 0
    for node in nodes:
        found |= 1 << node
    return found


def members(nodes: int) -> Iterator[int]:
    """The nodes of a mask, the lowest first."""
    while nodes:
        lowest = nodes & -nodes
        yield lowest.bit_length() - 1
        nodes ^= lowest


def build(dependencies: Sequence[Iterable[int]]) -> Graph:
    """The graph of which node i depends on `dependencies[i]`."""
    dependents = [0] * len(dependencies)
    for node, needed in enumerate(dependencies):
        for each in needed:
            dependents[each] |= 1 << node
    return Graph(tuple(map(mask, dependencies)), tuple(dependents))


def order(graph: Graph) -> list[int]:
    """The nodes so that each comes after all that it depends on, else the lowest first. Those of a cycle,
    and whatever depends on one, are left out."""
    missing = [needed.bit_count() for needed in graph.dependencies]
    ready = [node for node, count in enumerate(missing) if not count]
    found = []
    while ready:
        node = heapq.heappop(ready)
        found.append(node)
        for each in members(graph.dependents[node]):
            missing[each] -= 1
            if not missing[each]:
                heapq.heappush(ready, each)
    return found


def cycles(graph: Graph, most: int) -> list[list[int]]:
    """Up to `most` cycles without a node in common, each so that every node depends on the next."""
    found: list[list[int]] = []
    dependencies = list(graph.dependencies)
    while len(found) < most:
        rest = graph.everything & ~mask(order(build([tuple(members(each)) for each in dependencies])))
        if not rest:
            break
        cycle = _cycle(dependencies, rest)
        found.append(cycle)
        for node in cycle:
            dependencies[node] = 0
    return found


def _cycle(dependencies: Sequence[int], rest: int) -> list[int]:
    """From any node of `rest` a dependency within it leads on, so that the way comes back to itself."""
    way: list[int] = []
    node = next(members(rest))
    while node not in way:
        way.append(node)
        node = next(members(dependencies[node] & rest))
    return way[way.index(node) :]


def reachable(edges: Sequence[int], node: int) -> int:
    """All nodes that `edges` lead to from one, directly or not."""
    found, border = 0, edges[node]
    while border:
        found |= border
        further = 0
        for each in members(border):
            further |= edges[each]
        border = further & ~found
    return found


def ancestors(graph: Graph, ordered: Iterable[int]) -> list[int]:
    """For each node all that it depends on, directly or not; `ordered` as by `order`."""
    found = list(graph.dependencies)
    for node in ordered:
        for each in members(graph.dependencies[node]):
            found[node] |= found[each]
    return found


def depth(graph: Graph, ordered: Iterable[int]) -> int:
    """How many nodes the longest chain has."""
    depths = [0] * len(graph.dependencies)
    for node in ordered:
        depths[node] = 1 + max((depths[each] for each in members(graph.dependencies[node])), default=0)
    return max(depths, default=0)
