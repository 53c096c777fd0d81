"""The pictures of workflows: where things stand, that every arrow arrives, and what is listed instead."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from narrows.cli import output
from narrows.cli.drawing import ASCII, UNICODE, Signs, picture, signs_for
from narrows.cli.graphs import GAP, MAX_PLACES, Node, depths, layers
from narrows.cli.workflow_watching import _picture as watched_picture

LINES = set("│─┘┐┤└┌├┴┬┼▼")


def nodes(after: Mapping[str, str], states: Mapping[str, str] | None = None) -> list[Node]:
    """Steps by their refs, of which those that begin with `w` wait; `after` are refs with spaces between."""
    return [
        Node(
            ref,
            "wait_for_event" if ref.startswith("w") else "job",
            (states or {}).get(ref),
            tuple(others.split()),
        )
        for ref, others in after.items()
    ]


def drawn(
    after: Mapping[str, str],
    states: Mapping[str, str] | None = None,
    width: int = 80,
    signs: Signs = UNICODE,
) -> str:
    return "\n".join(line.plain for line in picture(nodes(after, states), width, signs))


def shaped(text: str) -> str:
    """An expected picture: between bars, so that editors leave its spaces alone."""
    return "\n".join(line.strip()[1:-1].rstrip() for line in text.strip().splitlines())


def test_a_chain() -> None:
    states = {"collect_data": "completed", "wait": "waiting", "create": "pending"}
    assert drawn({"collect_data": "", "wait": "collect_data", "create": "wait"}, states) == shaped("""
        |[✓ collect_data]                         |
        |        ▼                                |
        |    (◔ wait)                             |
        |        ▼                                |
        |   [· create]                            |
        |                                         |
        |· pending 1   ◔ waiting 1   ✓ completed 1|
    """)


def test_a_diamond_and_an_arrow_past_it() -> None:
    after = {"build": "", "lint": "build", "test": "build", "staging": "lint test", "live": "staging build"}
    assert drawn(after) == shaped("""
        |       [build]     |
        |   ┌──────┴┬────┐  |
        |   ▼       ▼    │  |
        |[lint]  [test]  │  |
        |   └────┬──┘   ┌┘  |
        |        ▼      │   |
        |    [staging]  │   |
        |        └──┬───┘   |
        |           ▼       |
        |        [live]     |
    """)


def test_steps_that_share_what_they_lead_to_share_their_lines() -> None:
    after = {"x": "", **{f"s{number}": "x" for number in range(4)}, "j": "s0 s1 s2 s3"}
    assert drawn(after) == shaped("""
        |          [x]          |
        |  ┌─────┬──┴──┬─────┐  |
        |  ▼     ▼     ▼     ▼  |
        |[s0]  [s1]  [s2]  [s3] |
        |  └─────┴──┬──┴─────┘  |
        |           ▼           |
        |          [j]          |
    """)


def test_neighbours_change_places_where_that_keeps_arrows_from_crossing() -> None:
    assert drawn({"a": "", "b": "", "c": "", "d": "c", "e": "b", "f": "a"}) == shaped("""
        |[a]  [b]  [c]|
        | ▼    ▼    ▼ |
        |[f]  [e]  [d]|
    """)


def test_a_terminal_without_those_characters_gets_others() -> None:
    after = {"a": "", "b": "a", "c": "a"}
    assert drawn(after, {"a": "failed", "b": "canceled", "c": "canceled"}, signs=ASCII) == shaped("""
        |    [x a]                 |
        |  +---+--+                |
        |  v      v                |
        |[/ b]  [/ c]              |
        |                          |
        |x failed 1   / canceled 2 |
    """)
    assert signs_for("utf-8") is signs_for("UTF8") is UNICODE
    assert signs_for("iso-8859-1") is ASCII


def test_what_is_too_wide_islisted_by_layers() -> None:
    after = {"x": "", **{f"s{number}": "x" for number in range(9)}, "j": " ".join(f"s{n}" for n in range(9))}
    lines = drawn(after, {"x": "completed"}, width=40).splitlines()
    assert lines[0].split() == ["1", "✓", "x", "job"]
    assert lines[1].split() == ["2", "s0", "job", "after", "x"]
    assert lines[2].split() == ["s1", "job", "after", "x"]
    assert lines[10].split(maxsplit=4) == ["3", "j", "job", "after", "s0, s1, s2, s3, s4, s5 and 3 more"]
    assert len(lines) == 13


def test_what_is_too_large_islisted_at_once() -> None:
    everything = [f"s{number}" for number in range(1_000)]
    after = {ref: " ".join(everything[:number]) for number, ref in enumerate(everything)}
    assert layers(nodes(after), [4] * 1_000) is None
    assert len(picture(nodes(after), 10_000)) == 1_000
    chain = {ref: everything[number - 1] if number else "" for number, ref in enumerate(everything)}
    assert len(picture(nodes(dict(list(chain.items())[:MAX_PLACES])), 80)) == 2 * MAX_PLACES - 1


def test_a_definition_that_is_wrong_is_drawn_as_far_as_it_goes() -> None:
    assert depths(nodes({"a": "b", "b": "a", "c": "b nobody"}))["c"] >= 1
    assert "nobody" not in drawn({"a": "nobody"})
    assert drawn({}) == ""


def test_names_are_cut_and_harmless() -> None:
    text = drawn({"a" * 60: "", "b\x1b[31m": "a" * 60})
    assert "…" in text
    assert "\x1b" not in text
    assert max(map(cell_len, text.splitlines())) < 40


def test_what_is_higher_than_the_terminal_shows_what_goes_on() -> None:
    after = {f"w{number}": f"w{number - 1}" if number else "" for number in range(30)}
    states = {ref: "completed" if ref < "w2" else "pending" for ref in after} | {
        "w3": "waiting",
        "w4": "failed",
    }
    found = nodes(after, states)
    assert watched_picture(found, 80) == picture(found, output.out.width)
    lines = [line.plain.split() for line in watched_picture(found, 20)]
    assert [line[1:3] for line in lines[:2]] == [["◔", "w3"], ["✗", "w4"]]
    assert len(lines) <= 20
    everything = nodes(after, dict.fromkeys(after, "waiting"))
    assert [line.plain for line in watched_picture(everything, 10)][7] == "and 23 more"


# ---- every graph -----------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 9))
    found = []
    for number in range(count):
        before = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        found.append(Node(f"n{number}", "job", None, tuple(f"n{each}" for each in sorted(before))))
    return draw(st.permutations(found))


@settings(max_examples=200)
@given(graphs())
def test_a_step_stands_below_what_it_depends_on_and_nothing_overlaps(found: list[Node]) -> None:
    depth = depths(found)
    assert all(depth[node.ref] > depth[other] for node in found for other in node.after)
    laid = layers(found, [4] * len(found))
    assert laid is not None
    for layer in laid:
        columns = sorted(layer, key=lambda place: place.left)
        assert columns == layer
        assert layer[0].left >= 0
        for one, other in pairwise(layer):
            assert one.right + GAP <= other.left
    placed = [place.node for layer in laid for place in layer if place.node is not None]
    assert sorted(placed) == sorted(found)


@settings(max_examples=200)
@given(graphs())
def test_every_arrow_arrives(found: list[Node]) -> None:
    """Whoever follows the lines down from a step comes by each step that depends on it."""
    rows = [line.plain for line in picture(found, 10_000)]
    at = {node.ref: _place_of(f"[{node.ref}]", rows) for node in found}
    for node in found:
        for ref in node.after:
            row, first, last = at[node.ref]
            assert any(_leads(rows, at[ref], (row - 1, column)) for column in range(first, last)), rows


def _place_of(label: str, rows: list[str]) -> tuple[int, int, int]:
    for row, line in enumerate(rows):
        if label in line:
            return row, line.index(label), line.index(label) + len(label)
    raise AssertionError(f"{label} is not in the picture")


_TO = {
    "│": "ud", "─": "lr", "┘": "ul", "┐": "dl", "┤": "udl", "└": "ur", "┌": "dr", "├": "udr",
    "┴": "ulr", "┬": "dlr", "┼": "udlr", "▼": "u",
}  # fmt: skip
_STEP = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
_BACK = {"u": "d", "d": "u", "l": "r", "r": "l"}


def _leads(rows: list[str], label: tuple[int, int, int], end: tuple[int, int]) -> bool:
    def cell(row: int, column: int) -> str:
        line = rows[row] if 0 <= row < len(rows) else ""
        return line[column] if 0 <= column < len(line) and line[column] in LINES else " "

    row, first, last = label
    border = [(row + 1, column) for column in range(first, last) if "u" in _TO.get(cell(row + 1, column), "")]
    seen = set(border)
    while border:
        row, column = border.pop()
        for direction in _TO.get(cell(row, column), ""):
            down, aside = _STEP[direction]
            further = (row + down, column + aside)
            if further not in seen and _BACK[direction] in _TO.get(cell(*further), ""):
                seen.add(further)
                border.append(further)
    return end in seen


@pytest.mark.parametrize("status", UNICODE.states)
def test_every_state_has_a_sign_of_its_own(status: str) -> None:
    for signs in (UNICODE, ASCII):
        assert list(signs.states.values()).count(signs.states[status]) == 1
        assert cell_len(signs.states[status]) == 1
    line = picture(nodes({"a": ""}, {"a": status}), 80)[0]
    assert line.plain == f"[{UNICODE.states[status]} a]"
    assert line.style or line.spans
