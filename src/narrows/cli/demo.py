"""`narrows demo`: the two stories of Narrows in a minute, with real processes. A shell waits, the server
is killed; a handler sets its run down, server and handler are killed. It checks what it shows: exit
code 0 only if both held. Not here: the stories (`demo_shell.py`, `demo_run.py`)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import typer

from narrows.cli import output
from narrows.cli.exits import Exit
from narrows.cli.session import Outcome, finish


def register(app: typer.Typer) -> None:
    app.command("demo", rich_help_panel="Run a server")(demo)


def demo() -> None:
    """Watch a shell and a job wait for a GitHub webhook while everything is killed: a minute, nothing kept."""
    finish(lambda: asyncio.run(_demo()))


async def _demo() -> Outcome:
    from narrows.cli.demo_run import RunStory  # noqa: PLC0415 - no other command needs the stories
    from narrows.cli.demo_shell import ShellStory  # noqa: PLC0415 - see above
    from narrows.cli.demo_stage import Stage  # noqa: PLC0415 - see above

    with tempfile.TemporaryDirectory(prefix="narrows-demo-") as folder:
        stage = Stage(Path(folder))
        try:
            await ShellStory(stage).tell()
            await RunStory(stage).tell()
        finally:
            await stage.clean_up()
        output.out.print(f"\n[bold green]The story held[/bold green], in {stage.took(stage.began)}.")
        output.out.print("Now yours: `narrows dev` and `narrows events wait KEY`.", markup=False)
    return Exit.OK
