"""What a client is asked to do, one step at a time, and what it answers: the border between the
logic of this package, which does no I/O, and the two clients, which do nothing else.

Logic is a generator that yields a step and is sent the answer. The sync and the async client take
the same steps, so that nothing is decided twice.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from narrows.client.pace import Pace

R_co = TypeVar("R_co", covariant=True)


class Request(NamedTuple):
    """A request as it goes out. `answer_secs` is the longest silence until and within the answer."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    answer_secs: float


class Reply(NamedTuple):
    """A whole answer; of an opened stream (status 200) the body is still to be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(NamedTuple):
    """No answer. `sent` False: the request certainly never reached the server."""

    reason: str
    sent: bool


class Exchange(NamedTuple):
    """Send the request and read the whole reply. Answered by Reply or Lost."""

    request: Request


class Open(NamedTuple):
    """Send the request and leave a 200's body to `Read`. Answered by Reply or Lost."""

    request: Request


class Read:
    """The next bytes of the opened stream. Answered by bytes (empty: it has ended) or Lost."""


class Pause(NamedTuple):
    """Let this many seconds pass."""

    secs: float


class Emit(NamedTuple):
    """Hand this value to whoever iterates."""

    value: Any


Step = Exchange | Open | Read | Pause | Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what the logic works: its clock, how long it goes on trying, whom it speaks of in errors."""

    pace: Pace
    url: str
    retry_secs: float
    reconnect_secs: float


class Plan(Protocol[R_co]):
    """Something a client can perform: a Call, or several of them."""

    def steps(self, conditions: Conditions) -> Generator[Step, Any, R_co]: ...


class Source(Protocol[R_co]):
    """Something a client can iterate: its steps emit values."""

    def emissions(self, conditions: Conditions) -> Generator[Step, Any, None]: ...

    def emitted(self, value: Any) -> R_co: ...
