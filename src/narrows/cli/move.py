"""`narrows move`: a store goes from SQLite to PostgreSQL, or back. Not here: how it is copied and compared
(the storage, through the composition root)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from narrows import config
from narrows.cli import output
from narrows.cli.confirm import progress
from narrows.cli.exits import Exit
from narrows.cli.serve import ConfigOption
from narrows.cli.session import Outcome, finish
from narrows.option_rules import DATABASE

FromOption = Annotated[
    str,
    typer.Option(
        "--from", help="Database to copy: sqlite:///path/to/file.db or postgresql://user@host/database."
    ),
]
ToOption = Annotated[
    str,
    typer.Option("--to", help="Database to fill, of the other kind. Empty, or the beginning of this move."),
]
INTERRUPTED = [
    "interrupted",
    "The same command goes on where it was; until it has ended, nobody serves the target.",
]


def register(app: typer.Typer) -> None:
    app.command("move", rich_help_panel="Care for the database")(move)


def move(*, source: FromOption, target: ToOption, config_file: ConfigOption = None) -> None:
    """Copy everything from SQLite to PostgreSQL, or back.

    Stop all servers of both first; while one serves, nothing is copied.
    The source is only read, the target must be empty. Killed or cut off,
    the same command goes on where it was. At the end all rows of both sides
    are compared by counts and checksums, and the copy is checked as by
    `narrows verify`.

    Name PostgreSQL itself, not a pooler before it; its password may stand in
    PGPASSWORD or ~/.pgpass. The secret key goes along by hand: secret.key of
    the data folder, or NARROWS_SECRET_KEY.

    Example: `narrows move --from sqlite:///.narrows/narrows.db --to postgresql://narrows@db/narrows`
    """
    finish(
        lambda: _move(_loaded("--from", source, config_file), _loaded("--to", target, config_file)),
        INTERRUPTED,
    )


def _loaded(option: str, address: str, file: Path | None) -> config.Config:
    try:
        DATABASE.read(address)
    except ValueError:
        raise typer.BadParameter(f"{option} must be {DATABASE.allowed}.") from None
    return config.load({"database": address}, file=file)


def _move(source: config.Config, target: config.Config) -> Outcome:
    from narrows import server  # noqa: PLC0415 - slow to load

    with progress() as bar:
        moved = server.move(source, target, _reporter(bar))
    for line in (
        f"moved {moved.rows} rows of {moved.tables} tables to {target.database_name}",
        "counts and checksums of both sides are equal",
    ):
        output.out.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in _next_steps(source, target):
        output.note(line)
    for fault in moved.faults:
        output.complain(fault)
    if moved.faults:
        output.note(
            "The copy is equal to its source, which has these faults too; `narrows verify` shows them."
        )
        return Exit.STORE
    return Exit.OK


def _next_steps(source: config.Config, target: config.Config) -> list[str]:
    """What does not go along by itself."""
    file = target if source.is_shared else source
    key = file.data / "secret.key"
    if source.is_shared:
        wanted = (
            f"put the nodes' secret.key there as {key}, or set NARROWS_SECRET_KEY, before you start a server"
        )
    else:
        wanted = f"give {key} to the data folder of every node, or its content as NARROWS_SECRET_KEY"
    return [
        f"Secrets are encrypted and run tokens made under the secret key: {wanted}.",
        f"{source.database_name} is as it was. Start no server on it any more, or each of the two goes its own way.",
    ]


def _reporter(bar: Progress) -> Any:
    """One bar, which says what is done with which table."""
    task = bar.add_task("", total=None, count="")

    def report(doing: str, done: int, everything: int) -> None:
        count = f"{done}/{everything} rows" if everything else ""
        bar.update(task, description=doing, completed=done, total=everything or None, count=count)

    return report
