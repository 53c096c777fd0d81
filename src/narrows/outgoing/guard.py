"""Which targets the server may call: what it is given by users must not lead it to itself, to its
neighbours, or to the metadata service of its cloud. A name is resolved once, refused if any of its
addresses is not public, and the connection goes to one of just these addresses (`wires.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from narrows.errors import InvalidRequest
from narrows.outgoing import allowed, networks, urls
from narrows.outgoing.resolver import Resolve, SystemResolver

_LOOPBACK: Final = ("127.0.0.0/8", "::1")
#: More addresses than any service has; a name could otherwise keep us trying for long.
_MAX_ADDRESSES: Final = 64
_WHAT_TO_DO: Final = (
    "Use a public address, or have the operator of this server list the target in NARROWS_ALLOW_TARGETS."
)


class TargetRefused(InvalidRequest):
    """A target that the server does not call."""


class Guard:
    """`allow` has the entries of `NARROWS_ALLOW_TARGETS`; `allow_loopback` is for a server on a developer's
    machine, and for tests."""

    def __init__(
        self, allow: Sequence[str] = (), allow_loopback: bool = False, *, resolve: Resolve | None = None
    ) -> None:
        self._allowed = allowed.parse([*allow, *(_LOOPBACK if allow_loopback else ())])
        self._resolve = resolve

    def check_url(self, url: str) -> None:
        """What can be told without asking anybody: raises `InvalidRequest` for a URL that is no such, and
        `TargetRefused` for an address that must not be called."""
        target = urls.parse(url)
        if self._allowed.holds_name(target.host, target.port):
            return
        if target.is_address:
            self._check([target.host], target.host, target.port)
        elif target.host == "localhost" or target.host.endswith(".localhost"):
            # By its definition, whatever a resolver says.
            self._check(["127.0.0.1"], target.host, target.port)

    async def addresses(self, host: str, port: int) -> list[str]:
        """All addresses of a host, each of which may be called. Raises `TargetRefused` if one may not, and
        OSError if the name has none."""
        found = [host] if networks.is_address(host) else await self._look_up(host, port)
        if not self._allowed.holds_name(host, port):
            self._check(found, host, port)
        return found[:_MAX_ADDRESSES]

    def check_connected(self, host: str, port: int, here: str, there: str) -> None:
        """Raises `TargetRefused` for a connection from an address to itself: this machine behind a
        public address, where services listen that no firewall keeps from it."""
        if here == there and not self._allowed.holds_name(host, port):
            if not self._allowed.holds_address(there, port):
                raise TargetRefused(f"The target is refused: {host} is this machine. {_WHAT_TO_DO}")

    async def _look_up(self, host: str, port: int) -> list[str]:
        if self._resolve is None:
            self._resolve = SystemResolver()
        found = await self._resolve(host, port)
        if not found:
            raise OSError("the name has no address")
        return found

    def _check(self, addresses: Sequence[str], host: str, port: int) -> None:
        for address in addresses:
            why = networks.why_not_public(address)
            if why is not None and not self._allowed.holds_address(address, port):
                # Which address an inner name has is not told to whoever may only try names.
                raise TargetRefused(
                    f"The target is refused: {host} leads to an address that {why}. {_WHAT_TO_DO}"
                )
