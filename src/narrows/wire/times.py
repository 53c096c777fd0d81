"""RFC 3339 text to and from integer microseconds since the epoch, always UTC, always `Z`.

Rendering caches the part down to the second, since the triggers of one busy second share it, and
below that the day, since due times lie far apart. Not here: reading a clock (`narrows.clock`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from narrows.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.(?P<fraction>\d+))?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
#: `T00:00:` to `T23:59:`.
_MINUTES = tuple(f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(24 * 60))


@lru_cache(maxsize=4096)
def _day(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).strftime("%Y-%m-%d").rjust(10, "0")


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    minutes, second = divmod(seconds, 60)
    days, minute = divmod(minutes, 24 * 60)
    return f"{_day(days)}{_MINUTES[minute]}{second:02d}"


def to_text(at: int) -> str:
    """`2026-11-23T20:40:44.120000Z`, or without a fraction where there is none."""
    seconds, fraction = divmod(at, 1_000_000)
    if fraction:
        return f"{_second(seconds)}.{fraction:06d}Z"
    return f"{_second(seconds)}Z"


def from_text(text: str, what: str = "time") -> int:
    """Microseconds since the epoch. Digits beyond the sixth of a fraction are cut off."""
    match = _RFC_3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        return from_datetime(datetime.fromisoformat(_six_digits(text.upper(), match["fraction"])))
    except (ValueError, OverflowError):
        raise InvalidRequest(f"The {what} is no RFC 3339 time; write it like 2026-11-23T20:40:44Z.") from None


def is_time(text: str) -> bool:
    """Whether `text` has the form of an RFC 3339 time."""
    return _RFC_3339.fullmatch(text) is not None


def from_datetime(moment: datetime) -> int:
    """Microseconds since the epoch of a moment that knows its offset."""
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return (moment - _EPOCH) // _MICROSECOND


def _six_digits(text: str, fraction: str | None) -> str:
    return text if fraction is None else text.replace(f".{fraction}", f".{fraction[:6]:0<6}", 1)
