"""`narrows workflow-runs`: look at runs of workflows, follow them, and change their course as a whole. Not here:
what is done to one step (`workflow_steps.py`), and what starts a run (`workflows run`)."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from narrows.cli import output, timeline
from narrows.cli.confirm import DryRunOption, YesOption, confirm
from narrows.cli.drawing import print_picture
from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.graphs import nodes_of_graph
from narrows.cli.session import Outcome, Session, command
from narrows.cli.workflow_watching import LIVE, STATUSES, print_line, watch
from narrows.client import calls
from narrows.wire.workflow_messages import WorkflowGraph, WorkflowRun, WorkflowStep

app = typer.Typer(
    name="workflow-runs", help="Look at runs of workflows, follow and steer them.", no_args_is_help=True
)

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the workflow run.", show_default=False)]


class _Steps(msgspec.Struct):
    """All steps, left as the texts that they came as."""

    data: list[msgspec.Raw]
    outputs_left_out: bool = False


def _statuses(incomplete: str) -> list[str]:
    return [status for status in STATUSES if status.startswith(incomplete)]


@command(app, "list")
async def list_runs(
    session: Session,
    *,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            help=f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}.",
            show_default=False,
            autocompletion=_statuses,
        ),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option("--workflow", metavar="WORKFLOW", help="Only this one's, by slug or id.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="name or name:value.")] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="ID", help="Only sub-workflows of this run.")
    ] = None,
    limit: LimitOption = None,
    everything: AllOption = False,
) -> Outcome:
    """List runs of workflows, newest first.

    Example: `narrows workflow-runs list --workflow kyc --status running`
    """
    filters = {"status": status, "workflow": workflow, "tag": tag, "parent_workflow_run_id": parent}
    return await print_pages(
        session, calls.list_workflow_runs, WorkflowRun, limit=limit, everything=everything, **filters
    )


@command(app, "get")
async def get(session: Session, *, run_id: RunArgument) -> Outcome:
    """Show one run: how it stands, what it was started with, why it ended."""
    session.printer.one(await session.fetch(calls.get_workflow_run(run_id)), WorkflowRun)
    return None


@command(app, "steps")
async def steps(session: Session, *, run_id: RunArgument) -> Outcome:
    """Show the steps of a run: how each stands, what came out of it, what it waits for.

    Example: `narrows workflow-runs steps 0190b6c2-0000-7000-8000-000000000000`
    """
    reply = await session.fetch(calls.workflow_run_steps(run_id))
    found = msgspec.json.decode(reply, type=_Steps)
    more = "their outputs are too large for one answer; some are left out" if found.outputs_left_out else None
    session.printer.many(found.data, WorkflowStep, more=more)
    return None


@command(app, "timeline")
async def show_timeline(session: Session, *, run_id: RunArgument) -> Outcome:
    """Print what has happened to a run and its steps, oldest first.

    Example: `narrows workflow-runs timeline 0190b6c2-0000-7000-8000-000000000000`
    """
    found = await timeline.Timeline(session, run_id, call=calls.workflow_run_timeline).new_lines()
    if session.printer.format is output.Format.JSON:
        output.write_json(b"[" + b",".join(found) + b"]", output.Format.JSON)
        return None
    for line in found:
        print_line(session, line)
    return None


@command(app, "graph")
async def graph(session: Session, *, run_id: RunArgument) -> Outcome:
    """Draw the steps of a run with their states, each below what it depends on; what waits in parentheses.

    What is wider than the terminal is listed instead.

    Example: `narrows workflow-runs graph 0190b6c2-0000-7000-8000-000000000000`
    """
    reply = await session.fetch(calls.workflow_run_graph(run_id))
    if session.printer.asked not in (None, output.Format.TABLE):
        output.write_json(reply, session.printer.format)
        return None
    print_picture(nodes_of_graph(msgspec.json.decode(reply, type=WorkflowGraph)))
    return None


@command(app, "watch")
async def watch_run(session: Session, *, run_id: RunArgument) -> Outcome:
    """Follow a run until it ends: its picture, drawn again when something happens; in a pipe its timeline.

    Restarts of the server are lived through. Exit code 0: completed, 12: failed, 3: timed out,
    4: canceled. Ctrl-C leaves the run alone.

    Example: `narrows workflow-runs watch 0190b6c2-0000-7000-8000-000000000000 && ./publish.sh`
    """
    return await watch(session, run_id)


@command(app, "cancel")
async def cancel(
    session: Session, *, run_id: RunArgument, dry_run: DryRunOption = False, yes: YesOption = False
) -> Outcome:
    """Cancel a run with all that belongs to it: runs of jobs, waits, sub-workflows.

    Example: `narrows workflow-runs cancel 0190b6c2-0000-7000-8000-000000000000 --yes`
    """
    run = await session.client.get_workflow_run(run_id)
    if dry_run:
        does = "would cancel" if run.status in LIVE else "cannot cancel"
        output.note(f"{does} the workflow run {run.id}, which is {run.status}")
        return None
    # One that has ended is not worth a question: the server says why it cannot be canceled.
    if run.status not in LIVE or confirm(
        f"Cancel the workflow run {run.id}, which is {run.status}?", yes=yes
    ):
        session.printer.one(await session.fetch(calls.cancel_workflow_run(run_id)), WorkflowRun)
    return None


@command(app, "pause")
async def pause(session: Session, *, run_id: RunArgument) -> Outcome:
    """Let nothing new of a run start. What goes on goes on: events are received, times run out, jobs end."""
    session.printer.one(await session.fetch(calls.pause_workflow_run(run_id)), WorkflowRun)
    return None


@command(app, "resume")
async def resume(session: Session, *, run_id: RunArgument) -> Outcome:
    """Let a paused run go on: whatever has its turn by now starts."""
    session.printer.one(await session.fetch(calls.resume_workflow_run(run_id)), WorkflowRun)
    return None


@command(app, "retry")
async def retry(session: Session, *, run_id: RunArgument) -> Outcome:
    """Start a new run like one that failed, timed out or was canceled, which keeps what was completed.

    Example: `narrows workflow-runs list --status failed` shows what `narrows workflow-runs retry` may start again.
    """
    session.printer.one(await session.fetch(calls.retry_workflow_run(run_id)), WorkflowRun)
    return None
