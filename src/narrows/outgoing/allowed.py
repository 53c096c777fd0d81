"""The list of targets that may be called although they are not public (`NARROWS_ALLOW_TARGETS`):
networks, addresses and names, each for all ports or for one. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

_ENTRY = re.compile(
    r"(?:\[(?P<bracketed>[0-9a-f:./]+)\]|(?P<network>[0-9.]+(?:/[0-9]+)?)|(?P<name>(?:\*\.)?[a-z0-9._-]+))(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII | re.IGNORECASE,
)


class _Network(NamedTuple):
    network: IPv4Network | IPv6Network
    port: int | None


class _Name(NamedTuple):
    name: str
    port: int | None


class Allowed(NamedTuple):
    """What is allowed beyond the public internet."""

    networks: tuple[_Network, ...] = ()
    names: tuple[_Name, ...] = ()

    def holds_address(self, address: str, port: int) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(
            found.version == each.network.version and found in each.network and each.port in (None, port)
            for each in self.networks
        )

    def holds_name(self, host: str, port: int) -> bool:
        """Whether this name may lead anywhere: exactly, or below a `*.name`."""
        return any(
            (host == each.name or (each.name.startswith("*.") and host.endswith(each.name[1:])))
            and each.port in (None, port)
            for each in self.names
        )


def parse(entries: Iterable[str]) -> Allowed:
    """Raises ValueError for what is none of: 10.0.0.0/8, 10.1.2.3:8080, fd00::/8, [fd00::1]:8080,
    name.internal, *.internal:8080."""
    networks, names = [], []
    for entry in entries:
        found = _network(entry) or _entry(entry)
        if isinstance(found, _Network):
            networks.append(found)
        else:
            names.append(found)
    return Allowed(tuple(networks), tuple(names))


def _network(entry: str) -> _Network | None:
    try:
        return _Network(ip_network(entry), None)
    except ValueError:
        return None


def _entry(entry: str) -> _Network | _Name:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError(entry)
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > 65_535:
        raise ValueError(entry)
    address = match["bracketed"] or match["network"]
    if address:
        return _Network(ip_network(address), port)
    return _Name(match["name"].lower(), port)
