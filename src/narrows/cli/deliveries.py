"""`narrows deliveries`: the webhooks that the server has sent, or tries to, about waits with a
`notify_url`. Not here: how they are signed and when they are tried (the server)."""

from __future__ import annotations

from typing import Annotated

import typer

from narrows.cli.events import AllOption, LimitOption, print_pages
from narrows.cli.session import Outcome, Session, command
from narrows.client import calls
from narrows.wire.run_messages import Delivery

app = typer.Typer(
    name="deliveries",
    help="Look at webhooks that were sent about waits, and retry them.",
    no_args_is_help=True,
)

STATUSES = ("pending", "delivered", "failed")


def _statuses(incomplete: str) -> list[str]:
    return [status for status in STATUSES if status.startswith(incomplete)]


@command(app, "list")
async def list_deliveries(
    session: Session,
    *,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", help="pending, delivered or failed.", show_default=False, autocompletion=_statuses
        ),
    ] = None,
    trigger_id: Annotated[
        str | None, typer.Option("--trigger", metavar="ID", help="Only those about this wait.")
    ] = None,
    limit: LimitOption = None,
    everything: AllOption = False,
) -> Outcome:
    """List webhooks to `notify_url`s, newest first: how often each was tried and what was answered.

    Example: `narrows deliveries list --status failed`
    """
    return await print_pages(
        session,
        calls.list_deliveries,
        Delivery,
        limit=limit,
        everything=everything,
        status=status,
        trigger_id=trigger_id,
    )


@command(app, "retry")
async def retry(
    session: Session,
    *,
    delivery_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the delivery.", show_default=False)],
) -> Outcome:
    """Send a webhook again now, under the same id, also one that was given up."""
    session.printer.one(await session.fetch(calls.retry_delivery(delivery_id)), Delivery)
    return None
