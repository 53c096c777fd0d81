"""The table of roles: every background duty of a server, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from narrows.engine.expire import ExpireTriggersRole
from narrows.engine.held import ExpireHeldEventsRole
from narrows.engine.loop import Role
from narrows.engine.prune import PruneRole
from narrows.engine.unmatched import UnmatchedBuffer, WriteUnmatchedRole

if TYPE_CHECKING:
    from narrows.operations.service import Service


def all_roles(service: Service, unmatched: UnmatchedBuffer, retention_days: int) -> tuple[Role, ...]:
    return (
        ExpireTriggersRole(service),
        ExpireHeldEventsRole(service),
        WriteUnmatchedRole(service, unmatched),
        PruneRole(service, retention_days),
    )
