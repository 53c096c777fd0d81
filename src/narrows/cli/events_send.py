"""`narrows events`, what arrives: send, send-prefix, hold; and purge, which clears away what is over."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from narrows.cli import inputs, output
from narrows.cli.confirm import DryRunOption, YesOption, confirm, progress
from narrows.cli.events import IdOption, KeyArgument, OptionalKey, app
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.client.call import Call
from narrows.wire import messages

PayloadOption = Annotated[
    str | None,
    typer.Option("--payload", metavar="JSON", help="JSON, @file, or - for stdin.", show_default=False),
]
IdempotencyOption = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="A repeat under the same key is done once.", show_default=False),
]


class _Kind(msgspec.Struct):
    """What tells the 202 of a held event from a trigger."""

    held: bool = False


def _print_settled_or_held(session: Session, reply: bytes) -> None:
    is_held = msgspec.json.decode(reply, type=_Kind).held
    session.printer.one(reply, messages.Held if is_held else messages.Trigger)


@command(app, "send")
async def send(
    session: Session,
    *,
    key: OptionalKey = None,
    trigger_id: IdOption = None,
    payload: PayloadOption = None,
    idempotency_key: IdempotencyOption = None,
) -> Outcome:
    """Send an event to the wait that is open under the key."""
    call = calls.send(key, inputs.payload(payload), trigger_id=trigger_id, idempotency_key=idempotency_key)
    session.printer.one(await session.fetch(call), messages.Trigger)
    return None


@command(app, "hold")
async def hold(
    session: Session,
    *,
    key: KeyArgument,
    payload: PayloadOption = None,
    hold_for: Annotated[
        str,
        typer.Option(
            "--for", metavar="DURATION", help="How long it is kept for a wait to come: 10m, 2h, 7d."
        ),
    ] = "1d",
    event_id: Annotated[
        str | None, typer.Option("--event-id", help="The same event is taken once.", show_default=False)
    ] = None,
) -> Outcome:
    """Send an event that is kept if nothing waits for it yet."""
    secs = inputs.duration_secs(hold_for)
    call = calls.hold(key, inputs.payload(payload), hold_secs=secs, event_id=event_id)
    _print_settled_or_held(session, await session.fetch(call))
    return None


@command(app, "send-prefix")
async def send_prefix(
    session: Session,
    *,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", show_default=False)],
    payload: PayloadOption = None,
    dry_run: DryRunOption = False,
    idempotency_key: IdempotencyOption = None,
) -> Outcome:
    """Send one event to every wait whose key starts with PREFIX."""
    call = calls.send_prefix(
        prefix, inputs.payload(payload), dry_run=dry_run, idempotency_key=idempotency_key
    )
    verb = "counting" if dry_run else "sending"
    reply = await _with_progress(session, call, f"{verb} {output.shown(prefix)}*")
    if not session.printer.is_table:
        output.write_json(reply, session.printer.format)
        return None
    found = msgspec.json.decode(reply, type=messages.PrefixResult)
    if found.triggers:
        from narrows.cli import tables  # noqa: PLC0415 - rich's tables are slow to load

        session.printer.show(tables.listing(found.triggers, messages.Trigger))
    refused = f", {found.refused} refused by their schema" if found.refused else ""
    output.out.print(f"{'would resolve' if dry_run else 'resolved'} {found.resolved}{refused}", markup=False)
    return None


@command(app, "purge")
async def purge(
    session: Session,
    *,
    older_than_days: Annotated[
        int, typer.Option("--older-than-days", min=1, max=36_500, help="Counted from when they ended.")
    ] = 30,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> Outcome:
    """Delete settled waits that are older than so many days."""
    counted = msgspec.json.decode(
        await _with_progress(session, calls.purge(older_than_days=older_than_days, dry_run=True), "counting"),
        type=messages.PurgeResult,
    )
    result = counted
    question = (
        f"Delete {inputs.counted(counted.would_delete, 'settled wait')} older than {older_than_days} days?"
    )
    if not dry_run and (counted.would_delete == 0 or confirm(question, yes=yes)):
        call = calls.purge(older_than_days=older_than_days)
        reply = await _with_progress(
            session, call, f"deleting {inputs.counted(counted.would_delete, 'wait')}"
        )
        result = msgspec.json.decode(reply, type=messages.PurgeResult)
    if session.printer.is_table:
        done = f"would delete {result.would_delete}" if result.dry_run else f"deleted {result.deleted}"
        output.out.print(done, markup=False)
    else:
        output.write_json(msgspec.json.encode(result), session.printer.format)
    return None


async def _with_progress(session: Session, call: Call[Any], description: str) -> bytes:
    """The server works on it as a whole and reports at the end: the bar says that it does and how long."""
    with progress() as bar:
        bar.add_task(description, total=None, count="")
        return await session.fetch(call)
