"""Payloads: where they are kept, and when two of them are equal as JSON values."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final

#: Up to this size a payload stands in the row of its trigger or held event.
INLINE_PAYLOAD_BYTES: Final = 1024
#: The largest payload that a client may send, and that may come out of a template or an output.
MAX_PAYLOAD_BYTES: Final = 1 << 20
#: Up to this size two payloads are compared inside the writer; larger ones outside of it.
QUICK_COMPARE_BYTES: Final = 4096


def is_too_large(text: str) -> bool:
    """Whether a text is over `MAX_PAYLOAD_BYTES` of UTF-8."""
    size = len(text)
    if 4 * size <= MAX_PAYLOAD_BYTES:
        return False
    return size > MAX_PAYLOAD_BYTES or len(text.encode()) > MAX_PAYLOAD_BYTES


def quickly_equal(one: str | None, other: str | None) -> bool | None:
    """Whether the payloads are equal, or None where that takes more than a moment to find out."""
    if one is None or other is None:
        return one is other
    if one == other:
        return True
    if len(one) + len(other) <= QUICK_COMPARE_BYTES:
        return equal(one, other)
    return None


def equal(one: str | None, other: str | None) -> bool:
    """Equality as JSON values: member order and white space do not matter, 1 equals 1.0, all digits
    of big numbers count, true is not 1, and absent (None) is not null."""
    if one is None or other is None:
        return one is other
    return one == other or _same(_parse(one), _parse(other))


def _parse(text: str) -> Any:
    return json.loads(text, parse_float=_number, parse_int=_number)


def _number(text: str) -> Decimal | str:
    """Exactly; a number whose exponent is beyond even `Decimal` equals only its own spelling."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return f"number {text}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
