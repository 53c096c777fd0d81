"""A request as a pure frozen value, and the one way in which paths, queries and bodies are spelled.

A `Call` knows everything about its request but where the server is: the functions in `calls/` make
them, `attempts.py` performs them. Nothing here does I/O.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from narrows.errors import InvalidRequest
from narrows.wire import messages
from narrows.wire.messages import Trigger

if TYPE_CHECKING:
    from narrows.client.steps import Conditions, Step

R = TypeVar("R")

#: The server gives up on a commit after 25 s, so an ordinary answer comes before this.
ANSWER_SECS = 30.0
_ID_LENGTH = 36


class Repeat(Enum):
    """Whether a call may be sent again when nobody knows if its first sending was done."""

    SAFE = "safe"
    #: Safe under an Idempotency-Key, which is made where the caller has given none.
    KEYED = "keyed"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[R]):
    """One request. `reply` is the type of a 2xx body; `other_replies` holds those of other statuses.

    `confirm`: a repeat that is refused as a conflict may mean that the lost first sending was done.
    This call then fetches the trigger or run, and if it is canceled, that was the answer.
    """

    method: str
    path: str
    reply: Any
    query: str = ""
    body: bytes | None = None
    other_replies: tuple[tuple[int, Any], ...] = ()
    repeat: Repeat = Repeat.SAFE
    idempotency_key: str | None = None
    answer_secs: float = ANSWER_SECS
    confirm: Call[R] | None = None
    #: Of the run plane: it takes the place of the API key.
    run_token: str | None = None

    @property
    def target(self) -> str:
        """Path and query, as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def reply_type(self, status: int) -> Any:
        """What a reply with this status decodes to; None where the status is no answer but an error."""
        for other, reply in self.other_replies:
            if other == status:
                return reply
        return self.reply if 200 <= status < 300 else None

    def steps(self, conditions: Conditions) -> Generator[Step, Any, R]:
        """The call with its repeats, as steps for a client to take."""
        from narrows.client.attempts import attempt  # noqa: PLC0415 - attempts knows Call; no cycle at import

        return attempt(self, conditions)


def encode_segment(text: str) -> str:
    """One path segment: everything outside the unreserved characters is escaped, the slash too.

    A lone `.` or `..` is escaped as well, since HTTP clients and proxies remove such segments.
    """
    try:
        encoded = quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidRequest("The key is not valid Unicode: it has a lone surrogate.") from None
    if not encoded:
        raise InvalidRequest("The key or id is empty; give at least one character.")
    return encoded.replace(".", "%2E") if encoded in {".", ".."} else encoded


def is_id(named: str) -> bool:
    """Whether what names a job or a workflow is its id: no slug has the form of a UUID."""
    return len(named) == _ID_LENGTH and named.count("-") == 4


def encode_query(**fields: str | int | bool | None) -> str:
    """`a=1&b=x`, without the fields that are None."""
    pairs = []
    for name, value in fields.items():
        if value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            pairs.append(f"{name}={quote(text, safe='')}")
        except UnicodeEncodeError:
            raise InvalidRequest(f"{name} is not valid Unicode: it has a lone surrogate.") from None
    return "&".join(pairs)


def path_of(event_key: str | Trigger | None, trigger_id: str | None, tail: str = "") -> str:
    """`/v1/triggers/{id}` wherever the id is known, else `/v1/events/{key}`."""
    known_id = known_id_of(event_key, trigger_id)
    if known_id is not None:
        return f"/v1/triggers/{encode_segment(known_id)}{tail}"
    assert isinstance(event_key, str)
    return f"/v1/events/{encode_segment(event_key)}{tail}"


def known_id_of(event_key: str | Trigger | None, trigger_id: str | None) -> str | None:
    """The id that a target names; None where it names a key."""
    if (event_key is None) == (trigger_id is None):
        raise InvalidRequest("Name the wait by its key, by a Trigger or by trigger_id=, one of them.")
    return event_key.id if isinstance(event_key, Trigger) else trigger_id


def encode_payload(payload: Any) -> Any:
    """A payload as JSON text. A `msgspec.Raw` is sent as it stands; UNSET is no payload at all.

    JSON has no NaN and no Infinity: they are refused here rather than turned into null.
    """
    if payload is msgspec.UNSET or isinstance(payload, msgspec.Raw):
        return payload
    try:
        plain = msgspec.to_builtins(payload, str_keys=True)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return msgspec.Raw(text.encode())
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidRequest(f"The payload cannot be written as JSON: {error}.") from None


def encode_body(request: messages.Message) -> bytes:
    """A request message as its body."""
    try:
        return msgspec.json.encode(request)
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise InvalidRequest(f"The request cannot be written as JSON: {error}.") from None
