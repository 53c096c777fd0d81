"""`narrows projects`: the tenants. Without a running server these work on the store itself."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from narrows.cli import inputs, output
from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.jobs import hand_over_secret
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.wire import messages
from narrows.wire.run_messages import Secret

app = typer.Typer(name="projects", help="Make and list projects.", no_args_is_help=True)


@command(app, "create", as_host=True)
async def create(
    session: Session,
    *,
    project_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    name: Annotated[str | None, typer.Option(help="What people call it.", show_default=False)] = None,
) -> Outcome:
    """Make a project."""
    call = calls.create_project(project_id, name=name)
    reply = await session.fetch(call)
    session.printer.one(reply, messages.Project)
    if msgspec.json.decode(reply, type=messages.Project).signing_secret is not None:
        output.note(
            "This is the only time that the signing secret of its webhooks is shown; "
            "`narrows projects rotate-secret` makes another."
        )
    return None


@command(app, "rotate-secret", as_host=True)
async def rotate_secret(
    session: Session,
    *,
    project_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old one signs too.")
    ] = "1d",
) -> Outcome:
    """Give a project a new secret that its webhooks to `notify_url`s are signed with, shown this once.

    In a pipe the secret alone goes to stdout; with -o json or jsonl also until when the old one signs.

    Example: `narrows projects rotate-secret default --overlap 2h > secret`
    """
    call = calls.rotate_project_secret(project_id, overlap_secs=inputs.duration_secs(overlap))
    hand_over_secret(session, await session.fetch(call), Secret)
    return None


@command(app, "list", as_host=True)
async def list_projects(
    session: Session, limit: LimitOption = None, everything: AllOption = False
) -> Outcome:
    """List projects."""
    return await print_pages(
        session, calls.list_projects, messages.Project, limit=limit, everything=everything
    )
