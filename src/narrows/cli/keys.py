"""`narrows keys`: API keys. Without a running server these work on the store itself. Not here: the
text of keys and their hashes (the server)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from narrows.cli import inputs, output
from narrows.cli.confirm import DryRunOption, YesOption, confirm
from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.reach import DEFAULT_PROJECT, make_default
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.clock import SystemClock
from narrows.wire import messages

app = typer.Typer(name="keys", help="Make, list, revoke and rotate API keys.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the API key.", show_default=False)]
SecretFileOption = Annotated[
    Path | None,
    typer.Option(
        "--to-file", help="Write the key there (mode 0600) instead of showing it.", show_default=False
    ),
]


def _expiry(expires_in: str | None) -> datetime | None:
    if expires_in is None:
        return None
    secs = SystemClock().now() // 1_000_000 + inputs.duration_secs(expires_in)
    return datetime.fromtimestamp(secs, UTC)


def _hand_over(session: Session, reply: bytes, to_file: Path | None) -> None:
    """Show or write the one and only copy of the secret."""
    made = msgspec.json.decode(reply, type=messages.ApiKey)
    if to_file is not None:
        assert made.key is not None
        descriptor = os.open(to_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(made.key + "\n")
        made.key = None
        reply = msgspec.json.encode(made)
        output.note(f"the key is in {to_file}; use it by --api-key-file {to_file}")
    session.printer.one(reply, messages.ApiKey)
    if made.key is not None:
        output.note("This is the only time that the key is shown. Use it as NARROWS_API_KEY.")


def _check_free(to_file: Path | None) -> None:
    """Before the key is made: it could not be shown again."""
    if to_file is not None and to_file.exists():
        raise typer.BadParameter(f"{to_file} exists already; name another file.")


@command(app, "create", as_host=True)
async def create(
    session: Session,
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.", show_default=False)] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="What it may do, such as events:send; may be repeated. Default: all."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="A key for all projects.")] = False,
    expires_in: Annotated[
        str | None,
        typer.Option(
            "--expires-in", metavar="DURATION", help="30d, 12h; default: never.", show_default=False
        ),
    ] = None,
    to_file: SecretFileOption = None,
) -> Outcome:
    """Make an API key, of the project `default` if none is named. It is shown once."""
    _check_free(to_file)
    project_id = None if admin else session.reach.asked_project or DEFAULT_PROJECT
    if admin and session.reach.asked_project:
        raise typer.BadParameter("--admin is a key for all projects; leave --project out.")
    if project_id == DEFAULT_PROJECT:
        await make_default(session.client)
    call = calls.create_api_key(
        scopes=scope or ["*"], project_id=project_id, name=name, expires_at=_expiry(expires_in)
    )
    _hand_over(session, await session.fetch(call), to_file)
    return None


@command(app, "list", as_host=True)
async def list_keys(session: Session, *, limit: LimitOption = None, everything: AllOption = False) -> Outcome:
    """List API keys, without their secrets."""
    return await print_pages(
        session, calls.list_api_keys, messages.ApiKey, limit=limit, everything=everything
    )


@command(app, "revoke", as_host=True)
async def revoke(
    session: Session, key_id: KeyId, dry_run: DryRunOption = False, yes: YesOption = False
) -> Outcome:
    """Revoke an API key at once; its streams are cut."""
    if dry_run:
        output.note(f"would revoke {key_id}")
        return None
    if confirm(f"Revoke {key_id}? Whoever uses it is locked out at once.", yes=yes):
        session.printer.one(await session.fetch(calls.revoke_api_key(key_id)), messages.ApiKey)
    return None


@command(app, "rotate", as_host=True)
async def rotate(
    session: Session,
    *,
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old one still works.")
    ] = "1d",
    to_file: SecretFileOption = None,
) -> Outcome:
    """Replace an API key by a new one with the same scopes."""
    _check_free(to_file)
    call = calls.rotate_api_key(key_id, overlap_secs=inputs.duration_secs(overlap))
    _hand_over(session, await session.fetch(call), to_file)
    return None
