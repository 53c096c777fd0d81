"""`narrows events`, the waits themselves: open, wait, watch, extend, cancel. `events wait` is the
command that shell scripts stand on: its exit code is the outcome and its stdout the payload."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import msgspec
import typer

from narrows.cli import inputs, output
from narrows.cli.confirm import DryRunOption, YesOption, confirm
from narrows.cli.events import IdOption, KeyArgument, OptionalKey, app
from narrows.cli.exits import Exit
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.errors import Conflict, NotFound
from narrows.wire import messages

TimeoutOption = Annotated[
    str,
    typer.Option(
        "--timeout", "-t", metavar="DURATION", help="30s, 10m, 2h, 7d or plain seconds; 0 waits for ever."
    ),
]
RequestOption = Annotated[
    str | None,
    typer.Option(
        "--request", metavar="JSON", help="JSON, @file or - for whoever answers.", show_default=False
    ),
]
NameOption = Annotated[str | None, typer.Option("--name", help="What people call this wait.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="name=value; may be repeated.")]
SchemaOption = Annotated[
    str | None,
    typer.Option(
        "--schema", metavar="JSON", help="JSON Schema, @file or -: payloads that do not fit are refused."
    ),
]
CallbackOption = Annotated[
    bool, typer.Option("--callback-url", help="Make a secret address: what is POSTed there is the payload.")
]
NotifyOption = Annotated[
    str | None,
    typer.Option(
        "--notify-url",
        help="Address that is called, signed, when the wait is opened and settled.",
        show_default=False,
    ),
]

_OUTCOMES = {"received": Exit.OK, "timed_out": Exit.TIMED_OUT, "canceled": Exit.CANCELED}


class _Payload(msgspec.Struct):
    """Only the payload of a trigger, as the text that was sent."""

    response_payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@command(app, "open")
async def open_wait(
    session: Session,
    *,
    key: KeyArgument,
    timeout_text: TimeoutOption = "1h",
    request: RequestOption = None,
    name: NameOption = None,
    tag: TagOption = None,
    schema: SchemaOption = None,
    notify_url: NotifyOption = None,
    callback_url: CallbackOption = False,
    join: Annotated[bool, typer.Option("--join", help="Take the wait that is open already.")] = False,
) -> Outcome:
    """Open a wait and return at once."""
    call = calls.open(
        key,
        timeout_secs=inputs.duration_secs(timeout_text),
        request_payload=inputs.payload(request),
        name=name,
        tags=inputs.tags(tag),
        expected_schema=inputs.payload(schema),
        notify_url=notify_url,
        callback_url=callback_url,
        if_waiting="join" if join else "refuse",
    )
    session.printer.one(await session.fetch(call), messages.Trigger)
    return None


@command(app, "wait")
async def wait(
    session: Session,
    *,
    key: OptionalKey = None,
    trigger_id: IdOption = None,
    timeout_text: TimeoutOption = "1h",
    request: RequestOption = None,
    name: NameOption = None,
    tag: TagOption = None,
    schema: SchemaOption = None,
    callback_url: CallbackOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
) -> Outcome:
    """Wait for an event; joins the wait that is open already, else opens one.

    The payload goes to stdout, exactly as it was sent. Exit code 0: received, 3: timed out,
    4: canceled. So `narrows events wait deploy:42 --timeout 2h && ./deploy.sh` does what it says.
    Ctrl-C leaves the wait open.
    """
    if (key is None) == (trigger_id is None):
        raise typer.BadParameter("name the wait by its KEY or by --id, one of them.")
    if trigger_id is not None:
        trigger = await session.client.get(trigger_id=trigger_id)
    else:
        trigger = await session.client.open(
            str(key),
            timeout_secs=inputs.duration_secs(timeout_text),
            request_payload=inputs.payload(request),
            name=name,
            tags=inputs.tags(tag),
            expected_schema=inputs.payload(schema),
            if_waiting="join",
        )
    _prepare_for_interrupt(session, trigger)
    if callback_url:
        made = await session.client.create_callback_url(trigger)
        output.err.print(made.callback_url, markup=False)
    if trigger.status == "waiting" and not quiet and output.err.is_terminal:
        output.note(f"waiting for {output.shown(trigger.event_key)} (id {trigger.id}); Ctrl-C leaves it open")
    settled = await session.client.wait(trigger)
    session.after_interrupt.clear()
    return await _tell(session, settled, quiet=quiet)


def _prepare_for_interrupt(session: Session, trigger: messages.Trigger) -> None:
    """By id, since the key may be answered while nobody looks: by key that would open a new wait."""
    session.after_interrupt += [
        "The wait stays open. To go on with it:",
        f"  narrows events wait --id {trigger.id}",
        "To end it:",
        f"  narrows events cancel --id {trigger.id}",
    ]


async def _tell(session: Session, settled: messages.Trigger, *, quiet: bool) -> Exit:
    if settled.status != "received":
        if not quiet:
            output.complain(settled.error or f"the wait ended as {settled.status}")
        return _OUTCOMES[settled.status]
    # The client has decoded the payload; what is printed is the text as it was sent.
    reply = await session.fetch(calls.get(trigger_id=settled.id))
    payload = msgspec.json.decode(reply, type=_Payload).response_payload
    if isinstance(payload, msgspec.Raw):
        output.write_line(bytes(payload))
    return Exit.OK


@command(app, "watch")
async def watch(session: Session, *, key: OptionalKey = None, trigger_id: IdOption = None) -> Outcome:
    """Follow a wait: how it is now, then every change, until it is settled."""
    stream = session.client.stream(key, trigger_id=trigger_id)
    session.after_interrupt.append("stopped watching; the wait goes on")
    async with contextlib.aclosing(stream) as states:  # type: ignore[type-var]
        async for trigger in states:
            if session.printer.is_table:
                _show_state(trigger)
            else:
                output.write_json(msgspec.json.encode(trigger), session.printer.format)
    return None


def _show_state(trigger: messages.Trigger) -> None:
    from narrows.cli import tables  # noqa: PLC0415 - rich's tables are slow to load and pipes need none

    output.out.rule(style="dim")
    session_card = tables.card(trigger)
    output.out.print(session_card)


@command(app, "extend")
async def extend(
    session: Session,
    *,
    key: OptionalKey = None,
    trigger_id: IdOption = None,
    timeout_text: Annotated[
        str,
        typer.Option(
            "--timeout", "-t", metavar="DURATION", help="From now on: 30s, 10m, 2h, 7d; 0 takes it away."
        ),
    ] = "1h",
) -> Outcome:
    """Give a wait a new time-out, counted from now."""
    secs = inputs.duration_secs(timeout_text)
    if trigger_id is None:
        trigger_id = (await session.client.get(key)).id
    reply = await session.fetch(calls.extend(trigger_id, timeout_secs=secs))
    session.printer.one(reply, messages.Trigger)
    return None


@command(app, "cancel")
async def cancel(
    session: Session,
    *,
    key: OptionalKey = None,
    trigger_id: IdOption = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="All waits whose keys start so.", show_default=False)
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> Outcome:
    """Cancel a wait, or with --prefix many."""
    if prefix is not None:
        return await _cancel_many(session, prefix, dry_run=dry_run, yes=yes)
    target = await session.client.get(key, trigger_id=trigger_id)
    if dry_run:
        output.note(f"would cancel {output.shown(target.event_key)}, which is {target.status}")
        return None
    session.printer.one(await session.fetch(calls.cancel(trigger_id=target.id)), messages.Trigger)
    return None


async def _cancel_many(session: Session, prefix: str, *, dry_run: bool, yes: bool) -> Outcome:
    pages = session.client.iterate(status="waiting", key_prefix=prefix)
    waiting = [trigger.id async for trigger in pages]
    count: dict[str, Any] = {"prefix": prefix, "waiting": len(waiting), "canceled": 0}
    question = (
        f"Cancel {inputs.counted(len(waiting), 'wait')} with a key that starts with {output.shown(prefix)!r}?"
    )
    if waiting and not dry_run:
        if not confirm(question, yes=yes):
            return None
        count["canceled"] = await _cancel_each(session, waiting)
    if session.printer.is_table:
        verb = "would cancel" if dry_run else "canceled"
        output.note(f"{verb} {inputs.counted(len(waiting) if dry_run else count['canceled'], 'wait')}")
    else:
        output.write_json(msgspec.json.encode(count | {"dry_run": dry_run}), session.printer.format)
    return None


async def _cancel_each(session: Session, trigger_ids: list[str]) -> int:
    canceled = 0
    for trigger_id in trigger_ids:
        # Settled by somebody else meanwhile, or purged: it is not ours to cancel any more.
        with contextlib.suppress(Conflict, NotFound):
            await session.client.cancel(trigger_id=trigger_id)
            canceled += 1
    return canceled
