"""The table of roles: every background duty of a server, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from narrows.engine.consume import ConsumeMessagesRole
from narrows.engine.deliver import DeliverRole, Render, Sign
from narrows.engine.dispatch import DispatchRole
from narrows.engine.endpoint import Endpoints
from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.held import ExpireHeldEventsRole
from narrows.engine.loop import Role
from narrows.engine.prune import PruneRole
from narrows.engine.runs_due import WakeRunsRole
from narrows.engine.unmatched import UnmatchedBuffer, WriteUnmatchedRole
from narrows.engine.workflow_runs_due import ExpireWorkflowRunsRole

if TYPE_CHECKING:
    from narrows.operations.service import Service
    from narrows.outgoing.caller import Caller


class Outgoing(NamedTuple):
    """What the roles that call others are handed."""

    caller: Caller
    endpoints: Endpoints
    render: Render
    sign: Sign
    dispatches: int
    dispatches_per_host: int


def all_roles(
    service: Service, unmatched: UnmatchedBuffer, retention_days: int, outgoing: Outgoing | None = None
) -> tuple[Role, ...]:
    """Without `outgoing` nobody is called: runs of endpoints and deliveries wait for a server that does."""
    # One life of a server: what an earlier one dispatched is known by its name.
    holder = f"server:{service.entropy():016x}"
    roles: tuple[Role, ...] = (
        ExpireTriggersRole(service),
        ExpireHeldEventsRole(service),
        WakeRunsRole(service, holder),
        ExpireWorkflowRunsRole(service),
        ConsumeMessagesRole(service),
        WriteUnmatchedRole(service, unmatched),
        PruneRole(service, retention_days),
    )
    if outgoing is None:
        return roles
    return (
        *roles,
        DispatchRole(service, outgoing.endpoints, holder, outgoing.dispatches, outgoing.dispatches_per_host),
        DeliverRole(service, outgoing.caller, outgoing.render, outgoing.sign),
    )
