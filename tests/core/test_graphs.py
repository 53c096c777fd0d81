"""Graphs as bit masks, compared with what a person would write down."""

from __future__ import annotations

from graphlib import TopologicalSorter

from hypothesis import given
from hypothesis import strategies as st

from narrows.core import graphs
from narrows.core.graphs import mask, members


@st.composite
def acyclic(draw: st.DrawFn, most: int = 12) -> list[list[int]]:
    """Dependencies of each node, all of which have a lower rank; the ranks are shuffled."""
    count = draw(st.integers(1, most))
    rank = draw(st.permutations(range(count)))
    found: list[list[int]] = [[] for _ in range(count)]
    for place in range(1, count):
        chosen = draw(st.sets(st.integers(0, place - 1), max_size=4))
        found[rank[place]] = sorted(rank[each] for each in chosen)
    return found


def _below(dependencies: list[list[int]], node: int) -> set[int]:
    found: set[int] = set()
    for each in dependencies[node]:
        found |= {each} | _below(dependencies, each)
    return found


@given(st.sets(st.integers(0, 1_000)))
def test_a_mask_has_the_members_that_were_put_in(nodes: set[int]) -> None:
    assert list(members(mask(nodes))) == sorted(nodes)


@given(acyclic())
def test_the_order_puts_dependencies_first_and_is_complete(dependencies: list[list[int]]) -> None:
    order = graphs.order(graphs.build(dependencies))
    assert sorted(order) == list(range(len(dependencies)))
    for node in order:
        assert all(order.index(each) < order.index(node) for each in dependencies[node])


@given(acyclic())
def test_ancestors_descendants_and_depth(dependencies: list[list[int]]) -> None:
    graph = graphs.build(dependencies)
    order = graphs.order(graph)
    below = [_below(dependencies, node) for node in range(len(dependencies))]
    assert [set(members(each)) for each in graphs.ancestors(graph, order)] == below
    for node in range(len(dependencies)):
        above = {other for other in range(len(dependencies)) if node in below[other]}
        assert set(members(graphs.reachable(graph.dependents, node))) == above
        assert set(members(graphs.reachable(graph.dependencies, node))) == below[node]

    def longest(node: int) -> int:
        return 1 + max(map(longest, dependencies[node]), default=0)

    assert graphs.depth(graph, order) == max(map(longest, range(len(dependencies))))


@given(st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=8, max_size=8))
def test_what_is_called_a_cycle_is_one_and_none_is_missed(dependencies: list[set[int]]) -> None:
    graph = graphs.build([sorted(each) for each in dependencies])
    found = graphs.cycles(graph, 100)
    for cycle in found:
        for node, needed in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert needed in dependencies[node]
    rest = dict(enumerate(dependencies))
    for cycle in found:
        for node in cycle:
            rest[node] = set()
    list(TopologicalSorter(rest).static_order())  # raises if a cycle is left
    assert bool(found) == (len(graphs.order(graph)) < len(dependencies))


def test_no_more_cycles_than_asked_for() -> None:
    assert len(graphs.cycles(graphs.build([[1], [0], [3], [2]]), 1)) == 1
