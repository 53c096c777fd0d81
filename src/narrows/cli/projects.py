"""`narrows projects`: the tenants. Without a running server these work on the store itself."""

from __future__ import annotations

from typing import Annotated

import typer

from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.wire import messages

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
    session.printer.one(await session.fetch(call), messages.Project)
    return None


@command(app, "list", as_host=True)
async def list_projects(
    session: Session, limit: LimitOption = None, everything: AllOption = False
) -> Outcome:
    """List projects."""
    return await print_pages(
        session, calls.list_projects, messages.Project, limit=limit, everything=everything
    )
