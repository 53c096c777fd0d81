"""Every error that Narrows names, drawn once. The server raises them, one table gives the HTTP
status (`STATUS`), and the client raises the same classes again.

    NarrowsError
    ├── Refusal                    declined by the rules; nothing was changed
    │   ├── InvalidRequest         400 invalid_request
    │   ├── Unauthenticated        401 unauthenticated
    │   ├── Forbidden              403 forbidden
    │   ├── NotFound               404 not_found
    │   ├── MethodNotAllowed       405 method_not_allowed
    │   ├── Conflict               409 conflict
    │   ├── Gone                   410 gone
    │   ├── PayloadTooLarge        413 payload_too_large
    │   │   └── TooMuchFollows     more would follow in workflow runs than one commit takes
    │   ├── UnsupportedMediaType   415 unsupported_media_type
    │   ├── MisdirectedRequest     421 misdirected_request
    │   ├── SchemaMismatch         422 schema_mismatch
    │   ├── LimitReached           429 limit_reached     (retry_after_secs)
    │   └── Unavailable            503 unavailable       (retry_after_secs); always: not done
    ├── InternalError              500 internal
    │   └── InvariantViolated      a promise would have been broken; its transaction was given up
    ├── OutcomeUnknown             504 outcome_unknown   the commit may or may not have happened
    ├── StorageError               the store cannot be used; the sentence says what to do
    │   ├── StoreLocked            another process holds the embedded database
    │   ├── SchemaUnknown          the database was written by a newer or an unknown Narrows
    │   └── StoreCorrupt           a checksum or a constraint of the file does not hold
    ├── ConnectionFailed           client side: no answer came from the server
    ├── StillWaiting               client side: `wait` ran out of its own time; the wait goes on
    └── StillRunning               client side: the same of `wait_for_run`

StillWaiting holds a trigger and StillRunning a run; they are therefore defined beside the calls that
raise them, in `client/waiting.py` and `client/run_waiting.py`. Not here: how an error becomes a reply
(`api/problems.py`) or an exit code (`cli/exits.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class NarrowsError(Exception):
    """The root of all. `message` is one sentence: what was wrong and what to do next.

    `details` holds further lines, each a sentence of its own; `retry_after_secs` is set where
    trying again later helps; `request_id` is set by the client from the reply.
    """

    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, details: Sequence[str] = (), retry_after_secs: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.retry_after_secs = retry_after_secs
        self.request_id: str | None = None

    def __str__(self) -> str:
        return "\n".join((self.message, *(f"- {line}" for line in self.details)))


class Refusal(NarrowsError):
    """An operation declined by the rules. It has changed nothing."""


class InvalidRequest(Refusal):
    code = "invalid_request"


class Unauthenticated(Refusal):
    code = "unauthenticated"


class Forbidden(Refusal):
    code = "forbidden"


class NotFound(Refusal):
    code = "not_found"


class MethodNotAllowed(Refusal):
    code = "method_not_allowed"


class Conflict(Refusal):
    code = "conflict"


class Gone(Refusal):
    code = "gone"


class PayloadTooLarge(Refusal):
    code = "payload_too_large"


class TooMuchFollows(PayloadTooLarge):
    """What a request brings about in workflow runs is more than one commit takes: it has to ask for less at once."""


class UnsupportedMediaType(Refusal):
    code = "unsupported_media_type"


class MisdirectedRequest(Refusal):
    code = "misdirected_request"


class SchemaMismatch(Refusal):
    code = "schema_mismatch"


class LimitReached(Refusal):
    code = "limit_reached"


class Unavailable(Refusal):
    code = "unavailable"


class InternalError(NarrowsError):
    code = "internal"


class InvariantViolated(InternalError):
    """A check in production code failed; the transaction was given up before it could commit."""


class OutcomeUnknown(NarrowsError):
    code = "outcome_unknown"


class StorageError(NarrowsError):
    code = "unavailable"


class StoreLocked(StorageError):
    """Another process writes this embedded database."""


class SchemaUnknown(StorageError):
    """The database's schema is newer than, or unknown to, this Narrows."""


class StoreCorrupt(StorageError):
    """The database file does not hold what was written to it."""


class ConnectionFailed(NarrowsError):
    code = "connection_failed"


#: The one table from error to HTTP status. The client reads it backwards, by code.
STATUS: dict[type[NarrowsError], int] = {
    InvalidRequest: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    Gone: 410,
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    MisdirectedRequest: 421,
    SchemaMismatch: 422,
    LimitReached: 429,
    InternalError: 500,
    Unavailable: 503,
    OutcomeUnknown: 504,
}

#: code -> class, for whoever reads a reply.
BY_CODE: dict[str, type[NarrowsError]] = {error.code: error for error in STATUS}


def status_of(error: NarrowsError) -> int:
    """The HTTP status of an error: its own class's, else that of the nearest parent in `STATUS`."""
    for cls in type(error).__mro__:
        if cls in STATUS:
            return STATUS[cls]
    return 503 if isinstance(error, StorageError) else 500
