"""What came back from a target, read within a size and put into a sentence where it is no success.
Nothing is decoded, nothing is followed. Not here: how it was asked for (`caller.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import httpcore2

from narrows.outgoing.wires import TooMuch

MAX_REFUSAL_BYTES: Final = 64 << 10
#: Each piece costs time however small it is; an honest answer of full size has fewer.
MAX_PARTS: Final = 10_000
_PARTS_PER_TURN: Final = 64
_MOST_RETRY_AFTER_SECS: Final = 366 * 86_400
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)


class Answer(NamedTuple):
    """`error` is None exactly for a 2xx that came whole; otherwise a sentence. `status` is None where no
    answer came that could be used. The body of anything but a 2xx may be cut."""

    status: int | None
    body: bytes
    error: str | None
    retry_after_secs: int | None


class Fault(Exception):
    """What a target did, as the end of a sentence that begins with it."""


def failed(error: str) -> Answer:
    return Answer(None, b"", error, None)


async def read(response: httpcore2.Response, most: int, now: int) -> Answer:
    """With `most` 0 no body is waited for. Raises `Fault`, and `TooMuch` for a success that is too large."""
    status = response.status
    if status < HTTPStatus.OK:
        raise Fault(f"answered with the status {status}, which nobody asked for")
    named = {name.lower(): value for name, value in response.headers}
    is_success = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    is_plain = named.get(b"content-encoding", b"").strip().lower() in (b"", b"identity")
    if is_success and not is_plain and most:
        raise Fault("answered with an encoded body (Content-Encoding), though none was asked for")
    body = b""
    if is_plain and most:
        body = await _body(response, most if is_success else min(most, MAX_REFUSAL_BYTES), cut=not is_success)
    return Answer(status, body, _error(status), retry_after_secs(named.get(b"retry-after", b""), now))


def retry_after_secs(value: bytes, now: int) -> int | None:
    """Of a number of seconds or a date; None for anything else. `now` is in microseconds."""
    text = value.decode("ascii", "replace").strip()
    if _DIGITS.fullmatch(text) is not None:
        return min(int(text), _MOST_RETRY_AFTER_SECS)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(int(until) - now // 1_000_000, 0), _MOST_RETRY_AFTER_SECS)


async def _body(response: httpcore2.Response, most: int, *, cut: bool) -> bytes:
    received = bytearray()
    async with contextlib.aclosing(response.aiter_stream()) as parts:
        number = 0
        async for part in parts:
            number += 1
            received += part
            if number > MAX_PARTS:
                raise Fault(f"answered in more than {MAX_PARTS:,} pieces")
            if not number % _PARTS_PER_TURN:
                await asyncio.sleep(0)  # pieces that are there already would hold up everybody else
            if len(received) > most:
                if not cut:
                    raise TooMuch
                break
    return bytes(received[:most])


def _error(status: int) -> str | None:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status < HTTPStatus.BAD_REQUEST:
        return (
            f"The target answered {status}, which leads elsewhere; that is not followed. Give the final URL."
        )
    try:
        return f"The target answered {status} {HTTPStatus(status).phrase}."
    except ValueError:
        return f"The target answered {status}."
