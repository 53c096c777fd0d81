"""From a reply to a typed value or to the error that the server meant: the same classes as on the
server, found by their `code`. Pure; nothing is raised here, errors are returned."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from narrows.client.steps import Reply
from narrows.errors import (
    BY_CODE,
    STATUS,
    ConnectionFailed,
    InternalError,
    NarrowsError,
    OutcomeUnknown,
    Refusal,
)
from narrows.wire.messages import Problem

_problems = msgspec.json.Decoder(Problem)
_BY_STATUS = {status: error for error, status in STATUS.items()}


@cache
def _decoder(reply_type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(reply_type)


def read_reply(reply: Reply, reply_type: Any, url: str) -> Any:
    """The value of a reply, or the NarrowsError that it stands for. `reply_type` None: an error."""
    if reply_type is None:
        return read_error(reply, url)
    if reply_type is bytes:
        return reply.body
    if reply_type is str:
        return reply.body.decode(errors="replace")
    try:
        return _decoder(reply_type).decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return InternalError(
            f"{url} answered {reply.status} with something this client cannot read ({error}). Is it a Narrows "
            "server, and no newer than this client?"
        )


def read_error(reply: Reply, url: str) -> NarrowsError:
    """The error of a reply that is no answer."""
    if 300 <= reply.status < 400:
        return ConnectionFailed(
            f"{url} answered with a redirect ({reply.status}), and redirects are never followed. Set NARROWS_URL to "
            "the address that the server really has."
        )
    try:
        problem = _problems.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _unworded(reply, url)
    cls = BY_CODE.get(problem.code) or _class_of(reply.status)
    error = cls(problem.error, details=problem.details or (), retry_after_secs=_retry_after_secs(reply))
    error.request_id = problem.request_id
    return error


def _unworded(reply: Reply, url: str) -> NarrowsError:
    """An error that the server has not worded: something in front of it has."""
    return _class_of(reply.status)(
        f"{url} answered {reply.status} without saying why: it came from a proxy, or this is no Narrows server. Check "
        "NARROWS_URL.",
        retry_after_secs=_retry_after_secs(reply),
    )


def _class_of(status: int) -> type[NarrowsError]:
    found = _BY_STATUS.get(status)
    if found is not None:
        return found
    if status == 502:
        return OutcomeUnknown
    return InternalError if status >= 500 else Refusal


def _retry_after_secs(reply: Reply) -> int | None:
    """Retry-After in seconds. Its other form, a date, would need a clock that agrees; it is ignored."""
    text = reply.headers.get("retry-after", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
