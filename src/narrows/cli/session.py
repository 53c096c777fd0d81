"""How a command runs: the options that all of them share, the client it works with, and the way its
errors end. `@command(app, "name")` turns an async function whose first parameter is a Session into
a command. Not here: what any command does."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from narrows.cli import output, reach
from narrows.cli.exits import Exit, exit_of
from narrows.client import AsyncClient
from narrows.client.call import Call
from narrows.errors import ConnectionFailed, Forbidden, NarrowsError, NotFound, Unauthenticated

Outcome = Exit | None
C = TypeVar("C", bound=Callable[..., Any])

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="Server to speak to [NARROWS_URL]; else the local one.", rich_help_panel="Server"
    ),
]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", help="Project to work in [NARROWS_PROJECT].", rich_help_panel="Server"),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder of the local server.", rich_help_panel="Server"),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File that holds the API key; else NARROWS_API_KEY. Never give a key as an argument.",
        rich_help_panel="Server",
    ),
]
OutputOption = Annotated[
    output.Format | None,
    typer.Option("--output", "-o", help="Default: table on a terminal, jsonl in a pipe."),
]


@dataclass(slots=True)
class Session:
    """One run of one command."""

    client: AsyncClient
    printer: output.Printer
    reach: reach.Reach
    #: What Ctrl-C leaves behind and how to go on; printed when it comes.
    after_interrupt: list[str] = field(default_factory=list)

    async def fetch(self, call: Call[Any]) -> bytes:
        """The server's own text of a reply: what is decoded and written again loses digits."""
        others = tuple((status, bytes) for status, _ in call.other_replies)
        reply: bytes = await self.client.perform(replace(call, reply=bytes, other_replies=others))
        return reply

    async def page(self, call: Call[Any]) -> output.Raws:
        return msgspec.json.decode(await self.fetch(call), type=output.Raws)


def command(
    app: typer.Typer, name: str, *, as_host: bool = False, **settings: Any
) -> Callable[[Callable[..., Coroutine[Any, Any, Outcome]]], Callable[..., Any]]:
    """Register an async function of a Session as a command with the shared options."""

    def decorate(function: Callable[..., Coroutine[Any, Any, Outcome]]) -> Callable[..., Any]:
        def run(
            *,
            url: str | None,
            project: str | None,
            data: Path | None,
            api_key_file: Path | None,
            output_format: output.Format | None,
            **values: Any,
        ) -> None:
            way = reach.Reach(url=url, project=project, data=data, api_key_file=api_key_file)
            interrupted: list[str] = []

            async def work() -> Outcome:
                async with reach.connect(way, as_host=as_host) as client:
                    session = Session(client, output.Printer(output_format), way, interrupted)
                    try:
                        return await function(session, **values)
                    except NotFound:
                        if not await _made_default(session):
                            raise
                        return await function(session, **values)

            finish(lambda: asyncio.run(work()), interrupted)

        _dress(run, function)
        app.command(name, **settings)(run)
        return function

    return decorate


async def _made_default(session: Session) -> bool:
    """On a fresh store the host's first command finds no project; then it is made, and the command,
    which has done nothing, is run again."""
    if session.reach.explicit_url or session.reach.asked_project:
        return False
    with contextlib.suppress(NarrowsError):
        return await reach.make_default(session.client)
    return False


def _dress(run: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Give `run` the name, help and parameters of `function`, with the shared options for its Session."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = [
        ("output_format", OutputOption),
        ("url", UrlOption),
        ("project", ProjectOption),
        ("data", DataOption),
        ("api_key_file", KeyFileOption),
    ]
    named_only = inspect.Parameter.KEYWORD_ONLY
    own = [parameter.replace(kind=named_only) for parameter in own]
    # An option of the same name with a help of its own wins over the shared one.
    taken = {parameter.name for parameter in own}
    assert not taken & {name for name, _ in shared}
    own += [inspect.Parameter(name, named_only, default=None, annotation=kind) for name, kind in shared]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in own}


def finish(work: Callable[[], Outcome], after_interrupt: list[str] | None = None) -> None:
    """Run `work` and end with its exit code; errors are printed with cause and next step."""
    try:
        outcome = work()
    except NarrowsError as error:
        output.complain(error.message, error.details, list(next_steps(error)))
        raise typer.Exit(exit_of(error)) from None
    except KeyboardInterrupt:
        for line in ("", *(after_interrupt or ["interrupted"])):
            output.err.print(line, markup=False)
        raise typer.Exit(Exit.INTERRUPTED) from None
    except BrokenPipeError:
        # `narrows events list | head`: whoever read has enough. Python would complain at exit.
        sys.stderr.close()
        raise typer.Exit(Exit.OK) from None
    except OSError as error:
        # A port in use, a folder that cannot be written: the system's own sentence says what.
        output.complain(str(error) or "it took too long")
        raise typer.Exit(Exit.UNEXPECTED) from None
    if outcome:
        raise typer.Exit(outcome)


def next_steps(error: NarrowsError) -> list[str]:
    """What a person can do about it, beyond what the server's sentence says."""
    steps = []
    if isinstance(error, Unauthenticated):
        steps.append("Put an API key into NARROWS_API_KEY or name its file by --api-key-file.")
        steps.append("On the server's host, `narrows keys create` makes one.")
    elif isinstance(error, Forbidden) and error.request_id:
        steps.append("`narrows keys list` on the host shows the scopes of each key.")
    elif isinstance(error, ConnectionFailed):
        steps.append("`narrows doctor` shows which server is meant and whether it answers.")
    if error.retry_after_secs:
        steps.append(f"Try again in {error.retry_after_secs} s.")
    if error.request_id:
        steps.append(f"request id: {error.request_id}")
    return steps
