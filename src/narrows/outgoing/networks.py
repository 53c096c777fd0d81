"""Which addresses belong to the public internet. Our own table, since `ipaddress.is_global` takes some
for public that lead to this machine or its neighbours: NAT64, 6to4 and other ways of writing an
IPv4 address as an IPv6 one. Of IPv6 nothing is public but what is listed so. Pure.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

#: Every network that is not public, with what it is (IANA's special-purpose registries, and one more).
_NOT_PUBLIC_V4: Final = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "means this machine"),
        ("10.0.0.0/8", "is private"),
        ("100.64.0.0/10", "is shared by a carrier or a cloud"),
        ("127.0.0.0/8", "is this machine"),
        ("168.63.129.16/32", "is a cloud's own service"),  # of Azure: public by its number only
        ("169.254.0.0/16", "is link-local, as are the metadata services of clouds"),
        ("172.16.0.0/12", "is private"),
        ("192.0.0.0/24", "is reserved for protocols"),
        ("192.0.2.0/24", "is for documentation"),
        ("192.31.196.0/24", "is a sink of the name system"),
        ("192.52.193.0/24", "is a multicast relay"),
        ("192.88.99.0/24", "is a 6to4 relay"),
        ("192.168.0.0/16", "is private"),
        ("192.175.48.0/24", "is a sink of the name system"),
        ("198.18.0.0/15", "is for benchmarks"),
        ("198.51.100.0/24", "is for documentation"),
        ("203.0.113.0/24", "is for documentation"),
        ("224.0.0.0/4", "is multicast"),
        ("240.0.0.0/4", "is reserved"),
    )
)
_NOT_PUBLIC_V6: Final = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "means this machine"),
        ("::1/128", "is this machine"),
        ("::ffff:0:0/96", "is an IPv4 address in disguise"),
        ("::ffff:0:0:0/96", "is an IPv4 address in disguise"),
        ("::/96", "is an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "is an IPv4 address in disguise"),
        ("100::/64", "is discarded"),
        ("100:0:0:1::/64", "is discarded"),
        ("2001::/32", "is an IPv4 address in disguise"),  # Teredo
        ("2001::/23", "is reserved for protocols"),
        ("2001:db8::/32", "is for documentation"),
        ("2002::/16", "is an IPv4 address in disguise"),  # 6to4
        ("2620:4f:8000::/48", "is a sink of the name system"),
        ("3ffe::/16", "is no longer in use"),
        ("3fff::/20", "is for documentation"),
        ("5f00::/16", "is for segment routing"),
        ("fc00::/7", "is private"),
        ("fe80::/10", "is link-local"),
        ("fec0::/10", "is private"),
        ("ff00::/8", "is multicast"),
    )
)
#: All that has ever been given out for the public internet.
_PUBLIC_V6: Final = IPv6Network("2000::/3")
#: How an IPv6-only network reaches IPv4 ones. Public where the address that it holds is.
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def why_not_public(text: str) -> str | None:
    """Why an address must not be called, as the end of the sentence 'the address ...'; None where it is
    public. What is no address is not public."""
    try:
        address = ip_address(text)
    except ValueError:
        return "is no address"
    if isinstance(address, IPv4Address):
        return _v4(address)
    return _v6(address)


def _v4(address: IPv4Address) -> str | None:
    return next((what for network, what in _NOT_PUBLIC_V4 if address in network), None)


def _v6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "is link-local"
    if address in _NAT64:
        inside = _v4(IPv4Address(int(address) & 0xFFFFFFFF))
        return f"holds an IPv4 address that {inside}" if inside else None
    for network, what in _NOT_PUBLIC_V6:
        if address in network:
            return what
    return None if address in _PUBLIC_V6 else "is not given out"
