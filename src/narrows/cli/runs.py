"""`narrows runs`: look at runs, follow them to their end, cancel and replay them. Where a run is
followed, the exit code is its outcome. Not here: what starts a run (`jobs trigger`)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from narrows.cli import output, timeline
from narrows.cli.confirm import DryRunOption, YesOption, confirm
from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.exits import Exit
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.client.call import Call
from narrows.client.run_waiting import LIVE
from narrows.wire.run_messages import Run, RunEvent

app = typer.Typer(
    name="runs", help="Look at runs of jobs, follow, cancel and replay them.", no_args_is_help=True
)

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the run.", show_default=False)]

OUTCOMES = {
    "completed": Exit.OK,
    "failed": Exit.FAILED,
    "dead_letter": Exit.DEAD_LETTER,
    "timed_out": Exit.TIMED_OUT,
    "canceled": Exit.CANCELED,
}
STATUSES = ("delayed", "queued", "executing", "waiting", *OUTCOMES)


class _Result(msgspec.Struct):
    """Only the result of a run, as the text that it came as."""

    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


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
    job: Annotated[
        str | None, typer.Option("--job", metavar="JOB", help="Only this job's, by slug or id.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="name or name:value.")] = None,
    limit: LimitOption = None,
    everything: AllOption = False,
) -> Outcome:
    """List runs, newest first.

    Example: `narrows runs list --job resize-image --status dead_letter`
    """
    filters = {"status": status, "job": job, "tag": tag}
    return await print_pages(session, calls.list_runs, Run, limit=limit, everything=everything, **filters)


@command(app, "get")
async def get(session: Session, *, run_id: RunArgument) -> Outcome:
    """Show one run: how it stands, its payload, its result or error, what it waits for."""
    session.printer.one(await session.fetch(calls.get_run(run_id)), Run)
    return None


@command(app, "watch")
async def watch(
    session: Session,
    *,
    run_id: RunArgument,
    result: Annotated[
        bool,
        typer.Option("--result", help="Show no timeline; print the result at the end, as `--wait` does."),
    ] = False,
) -> Outcome:
    """Follow a run: its timeline so far, then every new line, until it ends. Restarts of the server are lived through.

    Exit code 0: completed, 12: failed, 13: dead letter, 3: timed out, 4: canceled.
    Ctrl-C leaves the run alone.

    Example: `narrows runs watch 0190b6c2-0000-7000-8000-000000000000 && ./publish.sh`
    """
    prepare_for_interrupt(session, run_id)
    if result:
        return await follow_to_end(session, run_id)
    await _print_lines(session, timeline.Timeline(session, run_id).follow(), timeline.as_text)
    session.after_interrupt.clear()
    return tell_outcome(await session.client.perform(timeline.Patient(calls.get_run(run_id))))


@command(app, "logs")
async def logs(
    session: Session,
    *,
    run_id: RunArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines until the run ends.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", min=1, help="Only the last so many.", show_default=False)
    ] = None,
) -> Outcome:
    """Print what a run has logged, oldest first.

    Example: `narrows runs logs 0190b6c2-0000-7000-8000-000000000000 --follow`
    """
    if follow and tail is not None:
        raise typer.BadParameter("--tail is for what was logged; leave --follow out.")
    lines = timeline.Timeline(session, run_id, lambda kind: kind == timeline.LOGGED)
    if follow:
        session.after_interrupt.append("stopped following; the run goes on")
        await _print_lines(session, lines.follow(), _log_line)
        return None
    found = (await lines.new_lines())[-tail if tail else 0 :]
    if session.printer.format is output.Format.JSON:
        output.write_json(b"[" + b",".join(found) + b"]", output.Format.JSON)
        return None
    for line in found:
        _print_line(session, line, _log_line)
    return None


def _log_line(raw: bytes) -> Text:
    line = msgspec.json.decode(raw, type=RunEvent)
    return Text(f"{line.at:%H:%M:%S}  ", style="dim").append_text(timeline.as_log_text(line))


def _print_line(session: Session, line: bytes, as_text: Any) -> None:
    if session.printer.is_table:
        output.out.print(as_text(line), soft_wrap=True)
    else:
        output.write_json(line, session.printer.format)


async def _print_lines(session: Session, lines: AsyncIterator[bytes], as_text: Any) -> None:
    async with contextlib.aclosing(lines) as opened:  # type: ignore[type-var]
        async for line in opened:
            _print_line(session, line, as_text)


@command(app, "cancel")
async def cancel(
    session: Session, *, run_id: RunArgument, dry_run: DryRunOption = False, yes: YesOption = False
) -> Outcome:
    """Cancel a run with all that it waits for. Whoever executes it is told at his next call.

    Example: `narrows runs cancel 0190b6c2-0000-7000-8000-000000000000 --yes`
    """
    run = await session.client.get_run(run_id)
    if dry_run:
        does = "would cancel" if run.status in LIVE else "cannot cancel"
        output.note(f"{does} the run {run.id}, which is {run.status}")
        return None
    # One that has ended is not worth a question: the server says why it cannot be canceled.
    if run.status not in LIVE or confirm(f"Cancel the run {run.id}, which is {run.status}?", yes=yes):
        session.printer.one(await session.fetch(calls.cancel_run(run_id)), Run)
    return None


@command(app, "replay")
async def replay(session: Session, *, run_id: RunArgument) -> Outcome:
    """Start a new run like one that failed, timed out or was canceled: with its payload and what it kept.

    Example: `narrows runs list --status dead_letter` shows what `narrows runs replay` may start again.
    """
    session.printer.one(await session.fetch(calls.replay_run(run_id)), Run)
    return None


# ---- following to the end, for `jobs trigger --wait` too -----------------------------------------


def prepare_for_interrupt(session: Session, run_id: str) -> None:
    session.after_interrupt[:] = [
        "The run goes on. To follow it:",
        f"  narrows runs watch {run_id}",
        "To wait for its result:",
        f"  narrows runs watch {run_id} --result",
        "To end it:",
        f"  narrows runs cancel {run_id} --yes",
    ]


async def follow_to_end(session: Session, run: str | Run, *, quiet: bool = False) -> Exit:
    """Wait until the run has ended, print its result alone on stdout, and answer its exit code."""
    ended = await session.client.wait_for_run(run)
    session.after_interrupt.clear()
    if ended.status == "completed":
        # The client has decoded the result; what is printed is the text as it came.
        call: Call[_Result] = Call(method="GET", path=calls.get_run(ended.id).path, reply=_Result)
        result = (await session.client.perform(timeline.Patient(call))).result
        if isinstance(result, msgspec.Raw):
            output.write_line(bytes(result))
    return tell_outcome(ended, quiet=quiet)


def tell_outcome(run: Run, *, quiet: bool = False) -> Exit:
    """What went wrong, on stderr, and the exit code."""
    if run.status != "completed" and not quiet:
        after = (
            [f"narrows runs replay {run.id}  starts it again as a new run"]
            if run.status == "dead_letter"
            else []
        )
        output.complain(f"the run ended as {run.status}: {run.error or 'without an error'}", after=after)
    return OUTCOMES[run.status]
