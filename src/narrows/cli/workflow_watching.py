"""A workflow run followed: on a terminal its picture, drawn again when something happens; else its timeline, line by
line. Lives through restarts of the server. Not here: the commands (`workflow_runs.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.console import Group
from rich.live import Live
from rich.text import Text

from narrows.cli import drawing, output, timeline
from narrows.cli.exits import Exit
from narrows.cli.graphs import Node, nodes_of_graph
from narrows.cli.session import Session
from narrows.client import calls
from narrows.client.call import Call
from narrows.wire.workflow_messages import WorkflowGraph, WorkflowRun, WorkflowRunEvent

OUTCOMES: Final = {
    "completed": Exit.OK,
    "failed": Exit.FAILED,
    "timed_out": Exit.TIMED_OUT,
    "canceled": Exit.CANCELED,
}
LIVE: Final = frozenset({"running", "paused"})
STATUSES: Final = ("running", "paused", *OUTCOMES)
#: Under the picture stand the last lines of the timeline, and what is left of the terminal is for the picture.
_LAST_LINES: Final = 8
_LEFT_OVER: Final = _LAST_LINES + 4
_QUIET_STATES: Final = frozenset({"pending", "completed", "skipped"})


def prepare_for_interrupt(session: Session, run_id: str) -> None:
    session.after_interrupt[:] = [
        "The workflow run goes on. To follow it:",
        f"  narrows workflow-runs watch {run_id}",
        "To end it:",
        f"  narrows workflow-runs cancel {run_id} --yes",
    ]


async def follow_to_end(session: Session, run_id: str, *, quiet: bool = False) -> Exit:
    """Wait until the run has ended, print it, and answer its exit code."""
    call: Call[bytes] = Call(method="GET", path=calls.get_workflow_run(run_id).path, reply=bytes)
    reply = await session.client.perform(timeline.Patient(call))
    while (run := msgspec.json.decode(reply, type=WorkflowRun)).status in LIVE:
        reply = await session.client.perform(timeline.Patient(call, pause_secs=timeline.LOOK_SECS))
    session.after_interrupt.clear()
    session.printer.one(reply, WorkflowRun)
    return tell_outcome(run, quiet=quiet)


def tell_outcome(run: WorkflowRun, *, quiet: bool = False) -> Exit:
    """What went wrong, on stderr, and the exit code."""
    if run.status != "completed" and not quiet:
        after = [f"narrows workflow-runs retry {run.id}  starts a new run that keeps what was completed"]
        output.complain(
            f"the workflow run ended as {run.status}: {run.error or 'without an error'}", after=after
        )
    return OUTCOMES[run.status]


async def watch(session: Session, run_id: str) -> Exit:
    """Follow the run to its end, and answer its exit code."""
    prepare_for_interrupt(session, run_id)
    watching = _Watching(session, run_id)
    if session.printer.is_table and output.out.is_terminal:
        with Live(console=output.out, auto_refresh=False, vertical_overflow="crop") as live:
            run = await watching.to_end(
                lambda run, lines, graph: live.update(_screen(run, lines, graph), refresh=True)
            )
    else:
        run = await watching.to_end(None)
    session.after_interrupt.clear()
    return tell_outcome(run)


class _Watching:
    """One run, and the lines of its timeline as far as they were seen."""

    def __init__(self, session: Session, run_id: str) -> None:
        self._session = session
        self._run_id = run_id
        self._timeline = timeline.Timeline(session, run_id, call=calls.workflow_run_timeline)
        self._lines: list[Text] = []

    async def to_end(self, draw: Any) -> WorkflowRun:
        # A person who named the wrong server wants to know soon; from then on it may be away.
        run = await self._session.client.get_workflow_run(self._run_id)
        while True:
            new = await self._timeline.new_lines()
            if draw is None:
                for line in new:
                    print_line(self._session, line)
            elif new or not self._lines:
                self._lines = [*self._lines, *map(_as_text, new)][-_LAST_LINES:]
                draw(run, self._lines, await self._ask(calls.workflow_run_graph(self._run_id)))
            if run.status not in LIVE:
                return run
            run = await self._ask(calls.get_workflow_run(self._run_id), pause_secs=timeline.LOOK_SECS)

    async def _ask(self, call: Call[Any], pause_secs: float = 0) -> Any:
        return await self._session.client.perform(timeline.Patient(call, pause_secs=pause_secs))


def print_line(session: Session, line: bytes) -> None:
    if session.printer.is_table:
        output.out.print(_as_text(line), soft_wrap=True)
    else:
        output.write_json(line, session.printer.format)


def _as_text(raw: bytes) -> Text:
    """A line for a person: `12:00:01  step.completed         aml_check  key:...`."""
    line = msgspec.json.decode(raw, type=WorkflowRunEvent)
    detail = {} if not isinstance(line.detail, dict) else {**line.detail}
    step_ref = line.step_ref or detail.pop("step_ref", None)
    detail.pop("step_ref", None)
    text = Text(f"{line.at:%H:%M:%S}  ", style="dim")
    text.append(f"{line.kind:<22}", style="bold")
    for part in (step_ref, line.actor, timeline.plain(detail)):
        if part:
            text.append(f"  {output.shown(part)}")
    return text


def _screen(run: WorkflowRun, lines: Sequence[Text], graph: WorkflowGraph) -> Group:
    nodes = nodes_of_graph(graph)
    title = Text(f"{output.shown(run.workflow_slug)} {run.id}  ", style="bold")
    title.append(graph.status, style=drawing.STYLES.get(graph.status, "bold"))
    return Group(title, Text(), *_picture(nodes, output.out.height - _LEFT_OVER), Text(), *lines)


def _picture(nodes: Sequence[Node], height: int) -> list[Text]:
    """The picture; of one that is higher than the terminal only what goes on or went wrong."""
    signs = drawing.signs_for(output.out.encoding)
    found = drawing.picture(nodes, output.out.width, signs)
    if len(found) <= height:
        return found
    alive = [node for node in nodes if node.status not in _QUIET_STATES]
    more = len(alive) - max(height - 3, 1)
    lines = drawing.listed(alive[: max(height - 3, 1)], signs)
    return [
        *lines,
        *([Text(f"and {more} more", style="dim")] if more > 0 else []),
        *drawing.legend(nodes, signs),
    ]
