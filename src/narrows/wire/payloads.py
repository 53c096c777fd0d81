"""The check that every payload passes once, at the door: it comes out as the compacted JSON text of
what was sent, never re-encoded, so numbers keep their digits and spelling, members their order.

`compact` is on the path of every send: the usual payload costs a handful of C calls; what counts,
measures and names the fault exactly runs only where a cheap upper bound was exceeded. Not here:
the decoding of request bodies (`api/bodies.py`) and the equality of payloads (`core`).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import msgspec

from narrows.errors import InvalidRequest

MAX_NESTING: Final = 64
MAX_MEMBERS: Final = 10_000
MAX_DIGITS: Final = 4_300
#: The decimal exponents that a double can have, subnormal numbers included.
EXPONENTS: Final = range(-324, 309)

_NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*")
_STRING_OR_NUMBER = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|(-?[0-9][0-9.eE+-]*)', re.DOTALL)
_LARGE_EXPONENT = re.compile(rb"[0-9][eE][+-]?[0-9]{3}")
_SURROGATE_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if chr(byte) not in "[]{}")
#: Digits and points become 0, all else a blank: a run of zeros that is too long is easily found.
_DIGITS = bytes(0x30 if chr(byte) in "0123456789." else 0x20 for byte in range(256))
_TOO_MANY_DIGITS = b"0" * (MAX_DIGITS + 1)

_decode = msgspec.json.decode
_encode = msgspec.json.encode
_format = msgspec.json.format


def compact(raw: bytes, what: str = "payload", most_members: int = MAX_MEMBERS) -> str:
    """The compacted text of one JSON value. Raises InvalidRequest, whose sentence names `what`."""
    try:
        text = _format(raw, indent=-1)
    except RecursionError:
        raise _refusal(what, f"is nested deeper than {MAX_NESTING} levels") from None
    except msgspec.DecodeError as error:
        raise _refusal(what, f"is not valid JSON: {_reason(error)}") from None
    opened = text.count(b"{") + text.count(b"[")
    if opened > MAX_NESTING or opened + text.count(b",") > most_members:
        _check_shape(text, what, most_members)
    if b"\\u" in text:
        check_escapes(text, what)
    if len(text) > MAX_DIGITS and _TOO_MANY_DIGITS in text.translate(_DIGITS):
        _check_numbers(text, what)
    # Only these spellings can hide an exponent that decoding would silently take for zero.
    small = b"e-" in text or b"E-" in text or b"0e" in text or b"0E" in text
    if small and _LARGE_EXPONENT.search(text):
        _check_numbers(text, what)
    _check_values(text, what)
    return text.decode()


def count_members(raw: bytes, limit: int) -> int:
    """How many members and elements `raw` holds: exact where a cheap bound exceeds `limit`."""
    bound = raw.count(b"{") + raw.count(b"[") + raw.count(b",")
    return bound if bound <= limit else _members(_outside_strings(raw))


def check_escapes(text: bytes, what: str) -> None:
    """Refuse U+0000 and lone surrogates, which no database's text can hold."""
    if b"\\u0000" not in text and not _SURROGATE.search(text):
        return
    escapes = text.replace(b"\\\\", b"")
    if b"\\u0000" in escapes:
        raise _refusal(what, "holds the character U+0000; leave it out")
    if _SURROGATE.search(_SURROGATE_PAIR.sub(b"", escapes)):
        raise _refusal(what, "holds half of a surrogate pair; send the whole character")


def _members(outside: bytes) -> int:
    packed = b"".join(outside.split())
    opened = packed.count(b"{") + packed.count(b"[")
    return packed.count(b",") + opened - packed.count(b"{}") - packed.count(b"[]")


def _outside_strings(text: bytes) -> bytes:
    """The text with every string emptied. Escapes come in pairs from the left, so that without the
    doubled backslashes and the escaped quotes every quote left over opens or closes a string."""
    return b'""'.join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _check_shape(text: bytes, what: str, most_members: int) -> None:
    outside = _outside_strings(text)
    if _members(outside) > most_members:
        raise _refusal(what, f"has more than {most_members:,} members; send a smaller one")
    brackets = outside.translate(None, _NOT_BRACKETS)
    for _level in range(MAX_NESTING):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return
    raise _refusal(what, f"is nested deeper than {MAX_NESTING} levels")


def _check_numbers(text: bytes, what: str) -> None:
    outside = _outside_strings(text)
    for number in _NUMBER.findall(outside) if _may_be_too_large(outside) else ():
        _check_number(number, what)


def _may_be_too_large(outside: bytes) -> bool:
    return _TOO_MANY_DIGITS in outside.translate(_DIGITS) or bool(_LARGE_EXPONENT.search(outside))


def _check_number(number: bytes, what: str) -> None:
    mantissa, _, exponent = number.lower().partition(b"e")
    digits = sum(mantissa.count(b"%d" % digit) for digit in range(10))
    if digits > MAX_DIGITS:
        raise _refusal(what, f"has a number of over {MAX_DIGITS:,} digits; send it as a string")
    if not exponent:
        return
    if len(exponent) > 20 or int(exponent) not in EXPONENTS or math.isinf(float(number)):
        raise _refusal(what, "has a number that is beyond a double; send it as a string")


def _check_values(text: bytes, what: str) -> None:
    try:
        decoded = _decode(text)
    except UnicodeDecodeError:
        raise _refusal(what, "is not valid UTF-8") from None
    except msgspec.ValidationError:
        # A number too large for the decoder, which we may still keep: look at the rest without it.
        _check_numbers(text, what)
        text = _STRING_OR_NUMBER.sub(_number_as_zero, text)
        decoded = _decode_rest(text, what)
    except msgspec.DecodeError as error:
        raise _refusal(what, f"is not valid JSON: {_reason(error)}") from None
    _check_duplicates(text, decoded, what)


def _number_as_zero(match: re.Match[bytes]) -> bytes:
    return match[0] if match[1] is None else b"0"


def _decode_rest(text: bytes, what: str) -> Any:
    try:
        return _decode(text)
    except UnicodeDecodeError:
        raise _refusal(what, "is not valid UTF-8") from None
    except msgspec.DecodeError as error:
        raise _refusal(what, f"is not valid JSON: {_reason(error)}") from None


def _check_duplicates(text: bytes, decoded: Any, what: str) -> None:
    """Decoding keeps the last of two members of one name, so that encoding again has fewer `":`.

    What stands inside strings counts the same on both sides, except for a spelled-out quote.
    """
    members = text.count(b'":')
    if members < 2:
        return
    if b"\\u0022" in text:
        json.loads(text, object_pairs_hook=lambda pairs: _check_pairs(pairs, what))
    elif members != _encode(decoded).count(b'":'):
        raise _refusal(what, "has two members of the same name in one object; leave one out")


def _check_pairs(pairs: list[tuple[str, Any]], what: str) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _refusal(what, "has two members of the same name in one object; leave one out")


def _reason(error: msgspec.DecodeError) -> str:
    return str(error).removeprefix("JSON is malformed: ").lower()


def _refusal(what: str, fault: str) -> InvalidRequest:
    return InvalidRequest(f"The {what} {fault}.")
