"""`narrows jobs trigger`: start a run, and with `--wait` follow it to its end. Like `events wait` it is
a command for shell scripts: its exit code is the outcome and its stdout the result."""

from __future__ import annotations

from typing import Annotated

import typer

from narrows.cli import inputs, output
from narrows.cli.events_send import IdempotencyOption, PayloadOption
from narrows.cli.jobs import JobArgument, TagOption, app
from narrows.cli.runs import follow_to_end, prepare_for_interrupt
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.clock import SystemClock
from narrows.wire.run_messages import Run


@command(app, "trigger")
async def trigger(
    session: Session,
    *,
    job: JobArgument,
    payload: PayloadOption = None,
    priority: Annotated[int, typer.Option("--priority", min=-100, max=100, help="Higher ones go first.")] = 0,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Begin then: 2030-01-31T09:00:00Z.", show_default=False),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--in", metavar="DURATION", help="Begin so much later: 10m, 2h.", show_default=False),
    ] = None,
    tag: TagOption = None,
    idempotency_key: IdempotencyOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Follow the run to its end and print its result.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
) -> Outcome:
    """Start a run of a job and return at once; with --wait, follow it to its end over restarts of the server.

    With --wait the result goes to stdout, exactly as the handler gave it. Exit code 0: completed,
    12: failed, 13: failed at every attempt (dead letter), 3: timed out, 4: canceled.
    Ctrl-C leaves the run alone and says how to go on.

    Example: `narrows jobs trigger resize-image --payload @image.json --wait > result.json`
    """
    call = calls.trigger_job(
        job,
        inputs.payload(payload),
        priority=priority,
        scheduled_at=inputs.moment(at, after, now=SystemClock().now()),
        tags=inputs.tags(tag),
        idempotency_key=idempotency_key,
    )
    if not wait:
        session.printer.one(await session.fetch(call), Run)
        return None
    run = await session.client.perform(call)
    prepare_for_interrupt(session, run.id)
    if not quiet and output.err.is_terminal:
        output.note(f"the run {run.id} is {run.status}; Ctrl-C leaves it alone")
    return await follow_to_end(session, run, quiet=quiet)
