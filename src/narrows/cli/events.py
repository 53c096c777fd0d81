"""`narrows events`, the part that reads: list, get, stats, explain, held, unmatched. What opens and
settles waits stands in `events_open.py` and `events_send.py`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from narrows.cli import output
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.wire import messages

app = typer.Typer(name="events", help="Open waits, send events, watch them.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Event key of the wait.", show_default=False)]
OptionalKey = Annotated[
    str | None, typer.Argument(metavar="KEY", help="Event key of the wait.", show_default=False)
]
IdOption = Annotated[
    str | None, typer.Option("--id", help="Exactly this trigger, in place of a key.", show_default=False)
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, help="At most so many; default 50.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, page after page.")]
_PAGE_LIMIT = 100


async def print_pages(
    session: Session, call: Any, kind: Any, *, limit: int | None, everything: bool, **filters: Any
) -> Outcome:
    """Print a list. JSON lines are printed page by page, so that `--all` needs no memory."""
    wanted = None if everything else (limit or 50)
    items: list[msgspec.Raw] = []
    count, cursor = 0, None
    while True:
        page_limit = _PAGE_LIMIT if wanted is None else min(_PAGE_LIMIT, wanted - count)
        page = await session.page(call(**filters, limit=page_limit, cursor=cursor))
        count += len(page.data)
        if session.printer.format is output.Format.JSONL:
            session.printer.many(page.data, kind)
        else:
            items += page.data
        cursor = page.next_cursor
        if not page.has_more or cursor is None or (wanted is not None and count >= wanted):
            break
    more = "there are more; --limit or --all shows them" if page.has_more and not everything else None
    if session.printer.format is output.Format.JSONL:
        if more and output.err.is_terminal:
            output.note(more)
    else:
        session.printer.many(items, kind, more=more)
    return None


@command(app, "list")
async def list_events(
    session: Session,
    *,
    status: Annotated[
        str | None, typer.Option(help="waiting, received, timed_out or canceled.", show_default=False)
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only this event key.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="Only keys that start so.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="name or name:value.")] = None,
    limit: LimitOption = None,
    everything: AllOption = False,
) -> Outcome:
    """List waits, newest first."""
    filters = {"status": status, "event_key": key, "key_prefix": prefix, "tag": tag}
    return await print_pages(
        session, calls.list, messages.Trigger, limit=limit, everything=everything, **filters
    )


@command(app, "get")
async def get(session: Session, *, key: OptionalKey = None, trigger_id: IdOption = None) -> Outcome:
    """Show one wait: the one that waits under the key, else the newest."""
    session.printer.one(await session.fetch(calls.get(key, trigger_id=trigger_id)), messages.Trigger)
    return None


@command(app, "stats")
async def stats(session: Session) -> Outcome:
    """Count the project's waits by status."""
    session.printer.one(await session.fetch(calls.stats()), messages.Stats)
    return None


@command(app, "explain")
async def explain(session: Session, *, key: KeyArgument) -> Outcome:
    """Say why a wait did or did not fire: what arrived when, near keys, what was refused."""
    reply = await session.fetch(calls.explain(key))
    if not session.printer.is_table:
        output.write_json(reply, session.printer.format)
        return None
    found = msgspec.json.decode(reply, type=messages.Explanation)
    for line in found.lines:
        output.out.print(output.shown(line), markup=False)
    if found.near_keys:
        output.out.print("near keys:", style="bold")
        for near in found.near_keys:
            output.out.print(f"  {output.shown(near)}", markup=False)
    return None


@command(app, "held")
async def held(
    session: Session,
    *,
    key: Annotated[str | None, typer.Option("--key", help="Only this event key.")] = None,
    limit: LimitOption = None,
    everything: AllOption = False,
) -> Outcome:
    """List events that are held for a wait to come."""
    return await print_pages(
        session, calls.held_events, messages.Held, limit=limit, everything=everything, event_key=key
    )


@command(app, "discard")
async def discard(
    session: Session,
    *,
    held_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the held event.", show_default=False)],
) -> Outcome:
    """Drop a held event: no wait will get it."""
    session.printer.one(await session.fetch(calls.delete_held_event(held_id)), messages.Held)
    return None


@command(app, "unmatched")
async def unmatched(
    session: Session,
    *,
    key: Annotated[str | None, typer.Option("--key", help="Only this event key.")] = None,
    limit: LimitOption = None,
    everything: AllOption = False,
) -> Outcome:
    """List what arrived and found no wait."""
    return await print_pages(
        session, calls.unmatched_events, messages.Unmatched, limit=limit, everything=everything, event_key=key
    )
