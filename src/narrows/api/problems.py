"""How an error becomes a reply: the one place. The status stands in `errors.STATUS`; what was not
foreseen is 500 `internal`, whose cause goes to the log with the request's id and never outside."""

from __future__ import annotations

import logging

import msgspec

from narrows.api.routing import WrongMethod
from narrows.errors import InternalError, NarrowsError, OutcomeUnknown, StorageError, Unavailable, status_of
from narrows.wire import messages

logger = logging.getLogger("narrows.api")

_encode = msgspec.json.Encoder().encode


class ClientGone(Exception):
    """The client has gone before its request was whole; there is nobody to answer."""


def reply(
    error: Exception, request_id: str, *, is_done: bool = False
) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Status, body and headers of an error. `is_done`: what was asked for is committed, and only its reply is not
    there; then nothing may say that nothing was done."""
    shown = _shown(error, request_id)
    if is_done and isinstance(shown, Unavailable):
        shown = OutcomeUnknown(
            "It was done, but the store cannot be read now for the reply. Look at it later."
        )
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(shown, WrongMethod):
        headers.append((b"allow", shown.allow.encode()))
    status = status_of(shown)
    if shown.retry_after_secs is not None or status in (429, 503):
        headers.append((b"retry-after", b"%d" % (shown.retry_after_secs or 1)))
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="narrows"'))
    return status, _encode(problem(shown, request_id)), headers


def problem(error: NarrowsError, request_id: str) -> messages.Problem:
    """The one shape of every error."""
    return messages.Problem(
        error=error.message,
        message=error.message,
        code=error.code,
        request_id=request_id,
        details=list(error.details) or None,
    )


def _shown(error: Exception, request_id: str) -> NarrowsError:
    """What of an error may be seen from outside."""
    if isinstance(error, StorageError):
        logger.error("request_id=%s storage: %s", request_id, error.message)
        return Unavailable("The store cannot be used now; nothing was done, try again.", retry_after_secs=5)
    if isinstance(error, NarrowsError) and not isinstance(error, InternalError):
        return error
    logger.error("request_id=%s failed inside", request_id, exc_info=error)
    return InternalError(
        "Something failed inside the server; it was logged under this request_id, please report it."
    )
