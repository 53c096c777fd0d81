"""RFC 3339 text and spans of time, for cursors that are times and for sentences that name one.

Not the wire's: `narrows.wire.times` renders messages, and neither package may know the other.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from narrows.core.records import NEVER

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def text_of(at: int) -> str:
    """`2026-11-23T20:40:44.12Z`; a time that never comes is `never`."""
    if at >= NEVER:
        return "never"
    moment = _EPOCH + timedelta(microseconds=at)
    text = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return f"{text.rstrip('0').rstrip('.')}Z"


def moment_of(text: str) -> int | None:
    """Microseconds since the epoch; None where `text` is no RFC 3339 time."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    day, time, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{offset.upper()}")
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    return seconds * 1_000_000 + int(f"{fraction or '':0<6}"[:6])


def span_of(span_us: int) -> str:
    """A length of time as a person would say it: `120 ms`, `2.5 s`, `35 min`, `5 h`, `3 days`."""
    secs = abs(span_us) / 1_000_000
    if secs < 1:
        return f"{max(round(secs * 1000), 1)} ms" if span_us else "0 ms"
    if secs < 120:
        return f"{secs:.1f}".removesuffix(".0") + " s"
    if secs < 7_200:
        return f"{secs / 60:.0f} min"
    return f"{secs / 3600:.0f} h" if secs < 172_800 else f"{secs / 86_400:.0f} days"
