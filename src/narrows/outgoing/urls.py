"""One strict reading of a target's URL: what is checked, resolved and connected to are the same pieces,
so that no second reader can understand it otherwise. Whatever two readers might disagree about is
refused. Pure. Not here: which addresses may be called (`networks.py`, `allowed.py`).
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from narrows.errors import InvalidRequest

MAX_URL_BYTES: Final = 2_048
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: A printable character of ASCII; no backslash, which some read as a slash.
_PRINTABLE = re.compile(r"[!-\[\]-~]+", re.ASCII)
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?P<fragment>#.*)?", re.ASCII | re.IGNORECASE
)
_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII | re.IGNORECASE,
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
#: A name that ends like this is read as an IPv4 address by some: 127.1, 0x7f000001, 2130706433.
_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
#: Ports of services that would read a request as commands of their own: the list that browsers keep.
_BAD_PORTS: Final = frozenset(
    (1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
     110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
     531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045,
     4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080)
)  # fmt: skip


class Target(NamedTuple):
    """Where a request goes. `host` is a name in lower case or an address in its one spelling, without
    brackets; `path` is the request target, with the query."""

    scheme: str
    host: str
    port: int
    path: str
    is_address: bool

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Target:
    """Raises `InvalidRequest`, whose sentence never repeats the URL: it may hold a secret."""
    if len(url) > MAX_URL_BYTES:
        raise InvalidRequest(f"The URL is longer than {MAX_URL_BYTES:,} characters.")
    if _PRINTABLE.fullmatch(url) is None:
        raise InvalidRequest(
            "The URL has a space, a backslash, a control character or one that is not ASCII."
            " Percent-encode its path, and give an international name as xn--."
        )
    found = _URL.fullmatch(url)
    if found is None:
        raise InvalidRequest("The URL does not begin with http:// or https:// and a host.")
    if found["fragment"] is not None:
        raise InvalidRequest("The URL has a #fragment, which is never sent. Leave it out.")
    if "@" in found["authority"]:
        raise InvalidRequest("The URL holds a user or a password (@). Leave them out; requests are signed.")
    pieces = _AUTHORITY.fullmatch(found["authority"])
    if pieces is None:
        raise InvalidRequest("The URL's host or port is not valid. Write https://name.example.com:8443/path.")
    scheme = found["scheme"].lower()
    port = _port(pieces["port"], scheme)
    host, is_address = _v6(pieces["v6"]) if pieces["v6"] else _name_or_v4(pieces["name"].lower())
    rest = found["rest"]
    return Target(scheme, host, port, rest if rest.startswith("/") else f"/{rest}", is_address)


def _port(text: str | None, scheme: str) -> int:
    port = _DEFAULT_PORTS[scheme] if text is None else int(text)
    if port > 65_535:
        raise InvalidRequest("The URL's port is over 65535.")
    if port in _BAD_PORTS:
        raise InvalidRequest(f"Port {port} belongs to another protocol than HTTP. Use another port.")
    return port


def _v6(text: str) -> tuple[str, bool]:
    try:
        return str(IPv6Address(text)), True
    except AddressValueError:
        raise InvalidRequest("The URL's host is in brackets and no IPv6 address.") from None


def _name_or_v4(text: str) -> tuple[str, bool]:
    try:
        return str(IPv4Address(text)), True
    except AddressValueError:
        pass
    labels = text.split(".")
    if _LIKE_A_NUMBER.fullmatch(labels[-1]) is not None:
        raise InvalidRequest(
            "The URL's host looks like a number. Write an IPv4 address as four decimal numbers."
        )
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidRequest(
            "The URL's host is no valid name. It has an empty or too long part, or a dot at its end."
        )
    return text, False
