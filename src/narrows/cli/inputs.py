"""What people type, read: durations, payloads, tags, API keys from files. Everything that is wrong
becomes a usage error that says what is allowed. Not here: the rules for event keys and payloads,
which the server applies."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

_SECONDS_IN: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION_PART: Final = re.compile(r"(\d+)([smhdw]?)")


def duration_secs(text: str) -> int:
    """Seconds from '30s', '10m', '2h', '7d', '1h30m' or plain seconds."""
    parts = _DURATION_PART.findall(text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower():
        raise typer.BadParameter(f"{text!r} is no duration; write 30s, 10m, 2h, 7d or plain seconds.")
    return sum(int(number) * _SECONDS_IN[unit] for number, unit in parts)


def duration_text(seconds: float) -> str:
    """The reverse, for people: '2h 5m', '250 ms'."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    rest, parts = int(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _SECONDS_IN[unit])
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def moment(at: str | None, after: str | None, *, now: int) -> datetime | None:
    """When something is to begin: `--at` a time, or `--in` a duration counted from `now`, in
    microseconds; None where neither was given."""
    if at is not None and after is not None:
        raise typer.BadParameter("say when by --at or by --in, one of them.")
    if after is not None:
        try:
            return datetime.fromtimestamp(now / 1_000_000, UTC) + timedelta(seconds=duration_secs(after))
        except OverflowError:
            raise typer.BadParameter(f"{after!r} from now is after the end of the calendar.") from None
    if at is None:
        return None
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(f"{at!r} is no time; write 2030-01-31T09:00:00Z, or with +02:00 for Z.")
    return found.astimezone(UTC)


def counted(count: int, noun: str) -> str:
    """'1 wait', '2 waits'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def payload(text: str | None) -> Any:
    """The JSON of `--payload`: itself, `@file` or `-` for stdin; UNSET where none was given. It is
    sent as it was written, digit for digit, so it is checked here but not decoded."""
    if text is None:
        return msgspec.UNSET
    if text == "-":
        source, raw = "stdin", stdin()
    elif text.startswith("@"):
        source, raw = text[1:], read_file(text[1:])
    else:
        source, raw = "--payload", text.encode("utf-8", "surrogateescape")
    try:
        json.loads(raw)
    except ValueError as error:
        hint = f" For the text {text!r}, quote it: '\"{text}\"'." if source == "--payload" else ""
        raise typer.BadParameter(f"the payload from {source} is not JSON: {error}.{hint}") from None
    return msgspec.Raw(raw.strip())


@cache
def stdin() -> bytes:
    """Read once, also where a command is run again."""
    return sys.stdin.buffer.read()


def read_file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}.") from None


def tags(pairs: list[str] | None) -> dict[str, str] | None:
    """`--tag name=value`, repeated."""
    if not pairs:
        return None
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{pair!r} is no tag; write name=value.")
        found[name] = value
    return found


def secret_from_file(path: Path | None) -> str | None:
    """The API key that stands in a file, alone. Secrets are never arguments: everybody on the
    machine can read those."""
    return None if path is None else read_file(str(path)).decode("utf-8", "replace").strip()
