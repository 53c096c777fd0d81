"""`narrows dev` and `narrows serve`: read the configuration, say what will be served, hand over to the
composition root. Not here: the server itself (`narrows.server`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from narrows import config
from narrows.cli import logs, output
from narrows.cli.exits import Exit
from narrows.cli.session import Outcome, finish
from narrows.errors import Forbidden

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder. Default: .narrows", show_default=False)
]
HostOption = Annotated[
    str | None, typer.Option("--host", help="Address to listen on. Default: 127.0.0.1", show_default=False)
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", help="Port; 0 takes a free one. Default: 8080", show_default=False),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database", help="sqlite:///path/to/file.db or postgresql://user@host/database", show_default=False
    ),
]
PublicUrlOption = Annotated[
    str | None,
    typer.Option("--public-url", help="How others reach this server; callback URLs begin so."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file [NARROWS_CONFIG]. Default: narrows.toml", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command("dev", rich_help_panel="Run a server")(dev)
    app.command("serve", rich_help_panel="Run a server")(serve)


def dev(
    *,
    database: DatabaseOption = None,
    host: HostOption = None,
    port: PortOption = None,
    data: DataOption = None,
    public_url: PublicUrlOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Run a server on this machine only: no API key needed, nothing to set up."""
    flags = {"database": database, "host": host, "port": port, "data": data, "public_url": public_url}
    finish(lambda: _run(flags, config_file, dev_mode=True))


def serve(
    *,
    database: DatabaseOption = None,
    host: HostOption = None,
    port: PortOption = None,
    data: DataOption = None,
    public_url: PublicUrlOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Run a server that asks for API keys."""
    flags = {"database": database, "host": host, "port": port, "data": data, "public_url": public_url}
    finish(lambda: _run(flags, config_file, dev_mode=False))


def _run(flags: dict[str, Any], file: Path | None, *, dev_mode: bool) -> Outcome:
    from narrows import server  # noqa: PLC0415 - slow to load, and no other command needs it

    settings = config.load(flags, file=file)
    if dev_mode and not settings.is_loopback:
        raise config.ConfigInvalid(
            f"`narrows dev` listens on loopback only, not on {settings.host}: it asks for no key. "
            "`narrows serve` is for others to reach."
        )
    logs.set_up(settings)
    if not settings.is_loopback:
        _refuse_without_keys(settings)

    def ready(port: int) -> None:
        _announce(replace(settings, port=port), dev_mode=dev_mode)

    server.run(settings, dev=dev_mode, ready=ready)
    return Exit.OK


def _refuse_without_keys(settings: config.Config) -> None:
    """Nobody outside could use a server without keys, and somebody would soon look for a way round."""
    from narrows import server  # noqa: PLC0415 - see above

    if not asyncio.run(server.has_api_keys(settings)):
        raise Forbidden(
            f"{settings.host} can be reached by others, and there is no API key yet. "
            f"Make one first: narrows keys create {_naming(settings)}"
        )


def _naming(settings: config.Config) -> str:
    """How the command line is told which database is meant."""
    if not settings.is_shared:
        return f"--data {settings.data}"
    return "(with NARROWS_DATABASE set to this database)"


def _announce(settings: config.Config, *, dev_mode: bool) -> None:
    """What is served, and in dev three lines to paste. On stderr, as are the log lines that follow."""
    url = replace(settings, public_url=None).base_url
    say = output.err.print
    say(f"[bold]narrows[/bold] serves [bold]{url}[/bold]", highlight=False)
    say(f"  reference  {url}/docs", markup=False)
    say(f"  database   {settings.database_name}", markup=False)
    if not dev_mode:
        say("  API keys   narrows keys create", markup=False)
        return
    say("\nOpen a wait, send the event, see it answered; paste these into another terminal:\n", markup=False)
    for line in pasted_lines(url):
        say(f"  {line}", style="cyan", markup=False)
    say("", markup=False)


def pasted_lines(url: str) -> tuple[str, str, str]:
    """The first minute with a server."""
    return (
        f'curl -X POST {url}/v1/events -d \'{{"event_key":"approval:order_1","timeout_secs":600}}\'',
        f'curl -X POST {url}/v1/events/approval:order_1/send -d \'{{"payload":{{"approved":true}}}}\'',
        f"curl {url}/v1/events/approval:order_1",
    )
