"""`narrows version`, `narrows --version` and `narrows openapi`: what this is and how it is spoken to."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from narrows import __version__
from narrows.cli import output
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.wire import messages


def register(app: typer.Typer) -> None:
    app.callback()(_root)
    command(app, "openapi", rich_help_panel="Look around")(openapi)
    command(app, "version", rich_help_panel="Look around")(version)


def _print_version() -> None:
    output.out.print(f"narrows {__version__} (Python {platform.python_version()})", markup=False)


def _print_and_leave(asked: bool) -> None:
    if asked:
        _print_version()
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_and_leave,
            is_eager=True,
            help="Print the version of this command and leave.",
        ),
    ] = False,
) -> None:
    """What `narrows` itself takes; all else is a command's."""


async def openapi(session: Session) -> Outcome:
    """Print the server's OpenAPI document."""
    output.write_json(
        await session.fetch(calls.openapi()),
        output.Format.JSON if session.printer.is_table else session.printer.format,
    )
    return None


async def version(
    session: Session,
    server: Annotated[bool, typer.Option("--server", help="Ask the server for its version.")] = False,
) -> Outcome:
    """Print the version of this command, or with --server that of the server."""
    if not server:
        _print_version()
        return None
    session.printer.one(await session.fetch(calls.version()), messages.Version)
    return None
