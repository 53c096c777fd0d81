"""`narrows verify` and `narrows backup`: care of the database, with the server running or not. Not
here: what is checked and how it is copied (the storage, through the composition root)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID

from narrows import config
from narrows.cli import output
from narrows.cli.confirm import progress
from narrows.cli.exits import Exit
from narrows.cli.serve import ConfigOption, DatabaseOption, DataOption
from narrows.cli.session import Outcome, finish

_MIB = 1 << 20


def register(app: typer.Typer) -> None:
    app.command("verify", rich_help_panel="Care for the database")(verify)
    app.command("backup", rich_help_panel="Care for the database")(backup)
    app.command("migrate", rich_help_panel="Care for the database")(migrate)


def verify(
    database: DatabaseOption = None, data: DataOption = None, config_file: ConfigOption = None
) -> None:
    """Check the database: every page, every promise, every count. Exit code 11 if anything is wrong."""
    finish(lambda: _verify({"database": database, "data": data}, config_file))


def _verify(flags: dict[str, Any], file: Path | None) -> Outcome:
    from narrows import server  # noqa: PLC0415 - slow to load

    settings = config.load(flags, file=file)
    with progress() as bar:
        bar.add_task(f"checking {settings.database_name}", total=None, count="")
        faults = server.verify(settings)
    for fault in faults:
        output.complain(fault)
    if faults:
        output.note("Keep the file as it is and restore a backup; nothing was changed by looking.")
        return Exit.STORE
    output.out.print(f"{settings.database_name} is sound", markup=False)
    return Exit.OK


def migrate(
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only tell what would be done, and whether older nodes can go on.")
    ] = False,
    database: DatabaseOption = None,
    data: DataOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Bring the schema of a PostgreSQL database up to date, while nodes serve it. A server does it at its start."""
    finish(lambda: _migrate({"database": database, "data": data}, config_file, plan))


def _migrate(flags: dict[str, Any], file: Path | None, plan: bool) -> Outcome:
    from narrows import server  # noqa: PLC0415 - slow to load

    settings = config.load(flags, file=file)
    names = server.migrate(settings, plan=plan)
    for name in names:
        output.out.print(f"{'to apply' if plan else 'applied'}: {name}", markup=False)
    if not names:
        output.out.print(f"{settings.database_name} is up to date", markup=False)
    return Exit.OK


def backup(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="File to make.", show_default=False)],
    database: DatabaseOption = None,
    data: DataOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Copy the database, also of a running server, as it is at one moment. Never overwrites."""
    finish(lambda: _backup(destination, {"database": database, "data": data}, config_file))


def _backup(destination: Path, flags: dict[str, Any], file: Path | None) -> Outcome:
    from narrows import server  # noqa: PLC0415 - slow to load

    settings = config.load(flags, file=file)
    if destination.exists():
        raise typer.BadParameter(f"{destination} exists already; a backup never overwrites. Name a new file.")
    with progress() as bar:
        task = bar.add_task(f"copying {settings.database_name}", total=None, count="")
        server.backup(settings, destination, _reporter(bar, task))
    size_mib = destination.stat().st_size / _MIB
    output.out.print(f"{destination} holds the database ({size_mib:.1f} MiB)", markup=False)
    return Exit.OK


def _reporter(bar: Progress, task: TaskID) -> Any:
    def report(done_pages: int, all_pages: int) -> None:
        bar.update(task, completed=done_pages, total=all_pages, count=f"{done_pages}/{all_pages} pages")

    return report
