"""Which route a request means, decided on the raw path: split on literal slashes, route words
compared undecoded, and only then the key decoded. Dots are never normalised.

One trailing slash after a route word is ignored; after an event key it belongs to the key. A word
like `stats` is a route word only for the methods that the table has for it: `DELETE
/v1/events/stats` cancels the key `stats`. A tail like `/send` is one for every method. Not here:
the table itself (`app.py`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from narrows.api.settings import BODY_LIMIT_BYTES
from narrows.core.keys import check_key
from narrows.errors import InvalidRequest, MethodNotAllowed, NotFound

#: The scope of a route that needs no credential.
PUBLIC: Final = "public"
#: The scope of a route that is authenticated by the token of a run's dispatch, and by nothing else.
RUN: Final = "run"
#: Path parameters that may hold slashes, with the word that a refusal uses for them.
SPANNING: Final[Mapping[str, str]] = {"eventKey": "event key", "prefix": "prefix"}

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

#: Status and body; None where the endpoint has answered by itself (a stream).
Reply = tuple[int, bytes]


Endpoint = Callable[[Any], Awaitable[Reply | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table. `statuses` are those of success and the refusals of its own; every
    route may also answer 400, 401, 403, 404, 405, 413, 415, 429, 500, 503 and 504."""

    method: str
    pattern: str
    endpoint: Endpoint
    scope: str
    summary: str
    request: type | None = None
    reply: type | None = None
    statuses: tuple[int, ...] = (200,)
    #: Names of query parameters.
    query: tuple[str, ...] = ()
    body_limit_bytes: int = BODY_LIMIT_BYTES
    media_type: str = "application/json"
    #: Honours an Idempotency-Key.
    idempotent: bool = False
    #: Only the host and admin keys.
    admin_only: bool = False
    #: Also opened by `?token=`, a stream token; answers with a stream and therefore no HEAD.
    stream: bool = False
    #: The path itself is a secret and must not appear in a log.
    secret_path: bool = False


class WrongMethod(MethodNotAllowed):
    """405; `allow` is the value of the Allow header."""

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(allowed))
        super().__init__(f"This path does not take {method}; it takes {self.allow}.")


class _Pattern:
    """All routes of one pattern with a parameter: what stands before it and what after. A second one may
    stand within what the first one names; `between` is what stands between the two."""

    __slots__ = ("between", "head", "name", "routes", "tail")

    def __init__(self, pattern: str) -> None:
        self.head, _, rest = pattern.partition("{")
        self.name, _, self.tail = rest.partition("}")
        self.between, brace, rest = self.tail.partition("{")
        if brace:
            self.tail = rest.partition("}")[2]
        else:
            self.between = ""
        self.routes: dict[str, Route] = {}

    def find(self, path: str) -> tuple[str, str] | None:
        """The raw parameters, the second one empty where there is none; None where the path has another
        shape."""
        if not path.startswith(self.head):
            return None
        end = len(path)
        if self.tail:
            if path.endswith(self.tail):
                end -= len(self.tail)
            elif path.endswith("/") and path.endswith(self.tail, 0, -1):
                end -= len(self.tail) + 1
            else:
                return None
        elif self.name not in SPANNING and path.endswith("/"):
            end -= 1
        start = len(self.head)
        if end < start:
            return None
        raw = path[start:end]
        if self.name in SPANNING:
            return (raw, "") if raw or self.tail else None
        inner = ""
        if self.between:
            raw, _, inner = raw.partition(self.between)
            if not inner or "/" in inner:
                return None
        return (raw, inner) if raw and "/" not in raw else None


class Router:
    """Finds the route and the decoded parameter of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._words: dict[str, dict[str, Route]] = {}
        patterns: dict[str, _Pattern] = {}
        for route in routes:
            if "{" in route.pattern:
                pattern = patterns.setdefault(route.pattern, _Pattern(route.pattern))
                methods = pattern.routes
            else:
                methods = self._words.setdefault(route.pattern, {})
            if route.method in methods:
                raise ValueError(f"two routes for {route.method} {route.pattern}")
            methods[route.method] = route
        # The most specific first: a longer head, then a longer tail; apart by their first two words,
        # so that a send looks at the patterns under /v1/events only.
        self._families: dict[str, list[_Pattern]] = {}
        for pattern in sorted(patterns.values(), key=lambda each: (-len(each.head), -len(each.tail))):
            self._families.setdefault(_family(pattern.head), []).append(pattern)

    def match(self, method: str, raw_path: bytes) -> tuple[Route, str, str]:
        """The route and its parameters ("" where it has none, or one). Raises 400, 404 and 405."""
        try:
            path = raw_path.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("The path is not valid UTF-8; percent-encode it.") from None
        words = self._words.get(path)
        if words is None and path.endswith("/"):
            words = self._words.get(path[:-1])
        if words is not None:
            route = _choose(words, method)
            if route is not None:
                return route, "", ""
        for pattern in self._families.get(_family(path), ()):
            found = pattern.find(path)
            if found is not None:
                route = _choose(pattern.routes, method)
                if route is None:
                    raise WrongMethod(method, _allowed(pattern.routes) | _allowed(words or {}))
                raw, inner = found
                return route, _decode(raw, pattern.name), _decode(inner, "") if inner else ""
        if words is not None:
            raise WrongMethod(method, _allowed(words))
        raise NotFound("There is no such path; GET /openapi.json lists all of them.")


def _family(path: str) -> str:
    """`/v1/events` of `/v1/events/...`, `/h` of `/h/...`."""
    return path[: path.find("/", 4)] if path.startswith("/v1/") else path[: path.find("/", 1)]


def _choose(methods: dict[str, Route], method: str) -> Route | None:
    """HEAD is answered as GET, except where the answer would be a stream."""
    if method != "HEAD":
        return methods.get(method)
    route = methods.get("GET")
    return None if route is None or route.stream else route


def _allowed(methods: dict[str, Route]) -> set[str]:
    allowed = set(methods)
    if _choose(methods, "HEAD") is not None:
        allowed.add("HEAD")
    return allowed


def _decode(raw: str, name: str) -> str:
    text = percent_decode(raw) if "%" in raw else raw
    what = SPANNING.get(name)
    return text if what is None else check_key(text, what)


def percent_decode(raw: str) -> str:
    """Strict: a `%` that starts no escape and bytes that are no UTF-8 are 400."""
    if _BAD_ESCAPE.search(raw):
        raise InvalidRequest("A % in the address starts no escape; write it as %25.")
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The address does not decode to valid UTF-8.") from None
    if "\0" in text:
        raise InvalidRequest("The address holds a NUL (%00); leave it out.")
    return text
