"""The question before what destroys, and progress on a terminal. Not here: what is destroyed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from narrows.cli import output

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]


def confirm(question: str, *, yes: bool) -> bool:
    """Whether to go on. Without a terminal nobody can be asked: then only `--yes` means yes."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Nobody can be asked here; say --yes if you mean it.")
    output.err.print(f"{question} [y/N] ", end="", markup=False)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    output.note("nothing was done")
    return False


def progress() -> Progress:
    """A progress bar on stderr, which is only shown on a terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        console=output.err,
        transient=True,
        disable=not output.err.is_terminal,
    )
