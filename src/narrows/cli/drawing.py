"""A workflow as a picture in characters: steps in layers, arrows between them, states by sign and colour. What
is wider than the terminal is listed instead, layer by layer. Not here: where things stand (`graphs.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from narrows.cli.graphs import Node, Place, depths, layers
from narrows.cli.output import out, shown

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_LONGEST_LABEL: Final = 30
_MAX_NAMED: Final = 6
_EXECUTING: Final = ("job", "sub_workflow")


class Signs(NamedTuple):
    """What a picture is made of. `lines` are by the sum of the directions that a line goes to."""

    states: dict[str, str]
    lines: str
    arrow: str
    more: str


UNICODE: Final = Signs(
    states={
        "pending": "·",
        "queued": "○",
        "running": "▶",
        "waiting": "◔",
        "delayed": "↻",
        "completed": "✓",
        "failed": "✗",
        "timed_out": "⧗",
        "skipped": "↷",
        "canceled": "⊘",
    },
    lines=" │││─┘┐┤─└┌├─┴┬┼",
    arrow="▼",
    more="…",
)
#: For a terminal that speaks something else.
ASCII: Final = Signs(
    states={
        "pending": ".",
        "queued": "o",
        "running": ">",
        "waiting": "~",
        "delayed": "@",
        "completed": "+",
        "failed": "x",
        "timed_out": "%",
        "skipped": "-",
        "canceled": "/",
    },
    lines=" |||-+++-+++-+++",
    arrow="v",
    more="~",
)
STYLES: Final = {
    "pending": "dim",
    "queued": "yellow",
    "running": "cyan",
    "waiting": "yellow",
    "delayed": "yellow",
    "completed": "green",
    "failed": "red",
    "timed_out": "red",
    "skipped": "dim",
    "canceled": "magenta",
}


def signs_for(encoding: str) -> Signs:
    return UNICODE if encoding.lower().replace("-", "") == "utf8" else ASCII


def picture(nodes: Sequence[Node], width: int, signs: Signs = UNICODE) -> list[Text]:
    """The lines of the picture, or of the list where that does not fit into `width` columns."""
    labels = {node.ref: _label(node, signs) for node in nodes}
    found = layers(nodes, [cell_len(labels[node.ref].plain) for node in nodes])
    fits = found is not None and all(layer[-1].right <= width for layer in found)
    lines = list(_drawn(found, labels, signs)) if found is not None and fits else listed(nodes, signs)
    return [*lines, *legend(nodes, signs)]


def print_picture(nodes: Sequence[Node]) -> None:
    for line in picture(nodes, out.width, signs_for(out.encoding)):
        out.print(line, soft_wrap=True)


def _label(node: Node, signs: Signs) -> Text:
    """What makes something run stands in brackets, what waits in parentheses."""
    opening, closing = "[]" if node.type in _EXECUTING else "()"
    ref = shown(node.ref)
    if len(ref) > _LONGEST_LABEL:
        ref = ref[: _LONGEST_LABEL - 1] + signs.more
    if node.status is None:
        return Text(f"{opening}{ref}{closing}")
    return Text(f"{opening}{signs.states[node.status]} {ref}{closing}", style=STYLES[node.status])


def legend(nodes: Sequence[Node], signs: Signs) -> list[Text]:
    """What the signs mean that occur."""
    present = [status for status in signs.states if any(node.status == status for node in nodes)]
    if not present:
        return []
    text = Text("\n")
    for status in present:
        count = sum(node.status == status for node in nodes)
        text.append(f"{signs.states[status]} {status} {count}   ", style=STYLES[status])
    text.rstrip()
    return [text]


# ---- the picture -----------------------------------------------------------------------------


def _drawn(found: list[list[Place]], labels: dict[str, Text], signs: Signs) -> Iterator[Text]:
    for number, layer in enumerate(found):
        if number:
            yield from _arrows(found[number - 1], layer, signs)
        line = Text()
        for place in layer:
            line.append(" " * (place.left - cell_len(line.plain)))
            line.append_text(
                labels[place.node.ref] if place.node is not None else Text(signs.lines[_UP], style="dim")
            )
        yield line


class _Line(NamedTuple):
    """Arrows between the same places, drawn as one: from some columns of a layer to some of the one below."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def is_straight(self) -> bool:
        return self.starts == self.ends and len(self.ends) == 1

    @property
    def first(self) -> int:
        return min(*self.starts, *self.ends)

    @property
    def last(self) -> int:
        return max(*self.starts, *self.ends)


def _arrows(upper: Sequence[Place], lower: Sequence[Place], signs: Signs) -> Iterator[Text]:
    """The rows between two layers: a row for each line that goes sideways, unless they can share one."""
    starts: dict[tuple[int, ...], list[int]] = {}
    for place in upper:
        if place.below:
            starts.setdefault(tuple(sorted(each.centre for each in place.below)), []).append(place.centre)
    lines = [_Line(tuple(columns), ends) for ends, columns in starts.items()]
    rows = _rows([line for line in lines if not line.is_straight])
    cells: list[dict[int, int]] = [{} for _ in range(max(rows.values(), default=-1) + 1)]
    for line in lines:
        _mark(cells, line, rows.get(line, len(cells)))
    for row in cells:
        yield _row({column: signs.lines[directions] for column, directions in row.items()})
    last = {place: signs.lines[_UP] if place.node is None else signs.arrow for place in lower if place.above}
    yield _row({place.centre: character for place, character in last.items()})


def _mark(cells: Sequence[dict[int, int]], line: _Line, turn: int) -> None:
    """Note in which directions the line goes from each cell; it turns in the row `turn`."""

    def mark(row: int, column: int, direction: int) -> None:
        cells[row][column] = cells[row].get(column, 0) | direction

    for row in range(len(cells)):
        for start in line.starts if row <= turn else ():
            mark(row, start, _UP | (_DOWN if row < turn else 0))
        for end in line.ends if row >= turn else ():
            mark(row, end, _DOWN | (_UP if row > turn else 0))
    for column in range(line.first, line.last + 1) if turn < len(cells) else ():
        mark(turn, column, (_LEFT if column > line.first else 0) | (_RIGHT if column < line.last else 0))


def _row(characters: dict[int, str]) -> Text:
    width = max(characters, default=-1) + 1
    return Text("".join(characters.get(column, " ") for column in range(width)), style="dim")


def _rows(lines: Sequence[_Line]) -> dict[_Line, int]:
    """In which row each line turns. Lines that would touch do not share one; and a line that comes down where
    another one ends turns above it, or the two would run into each other."""
    rows: dict[_Line, int] = {}
    waiting = list(lines)
    while waiting:
        line = next((each for each in waiting if not _below_any(each, waiting)), waiting[0])
        waiting.remove(line)
        least = max((rows[each] + 1 for each in rows if _ends_at(line, each)), default=0)
        taken = {rows[each] for each in rows if _touch(each, line)}
        rows[line] = next(row for row in range(least, len(lines) + least + 1) if row not in taken)
    return rows


def _below_any(line: _Line, others: Sequence[_Line]) -> bool:
    return any(other is not line and _ends_at(line, other) for other in others)


def _ends_at(line: _Line, other: _Line) -> bool:
    """Whether one line ends in a column in which another one starts."""
    return not set(line.ends).isdisjoint(other.starts)


def _touch(one: _Line, other: _Line) -> bool:
    return one.first <= other.last and other.first <= one.last


# ---- the list --------------------------------------------------------------------------------


def listed(nodes: Sequence[Node], signs: Signs) -> list[Text]:
    """Each step on a line of its own, with the number of its layer."""
    depth = depths(nodes)
    width = min(max(cell_len(shown(node.ref)) for node in nodes), _LONGEST_LABEL) + 2
    lines = []
    before = -1
    for node in sorted(nodes, key=lambda node: depth[node.ref]):
        level = depth[node.ref]
        line = Text(f"{level + 1:>4}  " if level != before else " " * 6, style="dim")
        sign = "" if node.status is None else f"{signs.states[node.status]} "
        label = sign + shown(node.ref)
        line.append(
            label + " " * max(width - cell_len(label), 0), style=STYLES.get(node.status or "", "not dim")
        )
        line.append(f"  {node.type:<14}", style="dim")
        if node.after:
            line.append(f"  after {_named(node.after)}", style="dim")
        line.rstrip()
        lines.append(line)
        before = level
    return lines


def _named(refs: Sequence[str]) -> str:
    more = f" and {len(refs) - _MAX_NAMED} more" if len(refs) > _MAX_NAMED else ""
    return ", ".join(shown(ref) for ref in refs[:_MAX_NAMED]) + more
