"""What an option may be: rules that read a value from text or TOML, and say what is allowed. Which options
there are is in `config.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from narrows.outgoing import allowed

SQLITE_PREFIX: Final = "sqlite:///"
POSTGRES_PREFIXES: Final = ("postgresql://", "postgres://")
#: Where nobody listens for the hints of other nodes.
OFF: Final = "off"


class Rule(NamedTuple):
    """What an option allows. `read` takes text (flag, environment) or a TOML value and raises
    ValueError or TypeError for anything else; `allowed` is the end of the sentence 'it must be ...'."""

    read: Callable[[object], Any]
    allowed: str


def whole(least: int, most: int) -> Rule:
    def read(value: object) -> int:
        # `True` is an int to Python, but nobody means 1 by it.
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise TypeError
        number = int(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return Rule(read, f"a whole number from {least} to {most}")


def one_of(*words: str) -> Rule:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Rule(read, "one of " + ", ".join(words))


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def _read_folder(value: object) -> Path:
    return Path(_read_text(str(value) if isinstance(value, Path) else value)).expanduser()


def _read_database(value: object) -> str:
    url = _read_text(value)
    if url.startswith(POSTGRES_PREFIXES):
        return url
    if not url.startswith(SQLITE_PREFIX) or url == SQLITE_PREFIX or ":memory:" in url:
        raise ValueError
    return url


def _read_listening(value: object) -> str:
    url = _read_text(value)
    if url != OFF and not url.startswith(POSTGRES_PREFIXES):
        raise ValueError
    return url


def without_password(url: str) -> str:
    """A database's address as it may be shown."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" or not separator:
        return url
    place, slash, tail = rest.partition("/")
    user, at, host = place.rpartition("@")
    name, _, query = tail.partition("?")
    kept = [
        part
        for part in query.split("&")
        if part and not part.lower().startswith(("password=", "sslpassword="))
    ]
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{name}{'?' if kept else ''}{'&'.join(kept)}"


def _read_web_address(value: object) -> str:
    address = _read_text(value).rstrip("/")
    scheme, separator, rest = address.partition("://")
    if scheme not in ("http", "https") or not separator or not rest:
        raise ValueError
    return address


def _read_web_addresses(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part for part in value.replace(",", " ").split() if part]
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return tuple("*" if part == "*" else _read_web_address(part) for part in value)


def _read_targets(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, (list, tuple)):
        raise TypeError
    entries = tuple(_read_text(part) for part in value)
    allowed.parse(entries)
    return entries


TEXT: Final = Rule(_read_text, "some text")
FOLDER: Final = Rule(_read_folder, "the path of a folder")
DATABASE: Final = Rule(
    _read_database,
    "sqlite:///<path of a file> (sqlite:////<path> with four slashes for an absolute path) or"
    " postgresql://<user>@<host>/<database>",
)
LISTENING: Final = Rule(_read_listening, "postgresql://<user>@<host>/<database>, or off")
WEB_ADDRESS: Final = Rule(_read_web_address, "an address such as https://narrows.example.com")
WEB_ADDRESSES: Final = Rule(
    _read_web_addresses, "addresses such as https://app.example.com, separated by commas, or *"
)
KEYS: Final = Rule(_read_text, "32 bytes as base64 (openssl rand -base64 32), several separated by commas")
TARGETS: Final = Rule(
    _read_targets,
    "networks, addresses and names such as 10.0.0.0/8, 10.1.2.3:8080, [fd00::1]:8080, *.internal, separated by commas",
)
